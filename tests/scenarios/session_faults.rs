//! Two machines that want one node name, a monitor that revokes, and a network that loses, delays, doubles and reorders:
//! whatever happens, nobody believes to hold a session longer than its last accepted renewal allows, and never two at
//! once. Afterwards the faults stop, and somebody holds it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use leasehold::lease::session::{Answer, Claimant, Effect, Input, Record, Session, Taken};
use leasehold::lease::timings::SessionConfig;
use leasehold::lease::wire;
use leasehold::time::{Instant, WallTime};
use proptest::prelude::*;

use super::lease_store::LeaseStore;

const D: Duration = Duration::from_secs(20);
const M: Duration = Duration::from_secs(3);

/// Something done to the world.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Starts an agent in the same boot.
    Start(usize),
    /// Starts an agent in a new boot.
    Boot(usize),
    Kill(usize),
    /// Its process gets no turn for a while; its clock runs on.
    Pause(usize, Duration),
    /// Its agent is killed and its disk wiped.
    Wipe(usize),
    /// The Lease is deleted by force.
    Lose,
    /// Nobody reaches the coordinator for a while.
    Outage(Duration),
}

#[derive(Clone, Debug)]
enum Event {
    Deed(Deed),
    /// A request arrives at the coordinator.
    Arrive {
        from: Process,
        number: u64,
        sent: Duration,
        request: Request,
    },
    /// An answer, or the end of something local, arrives at its machine.
    Hear {
        to: Process,
        input: Input,
    },
    /// A record reaches the disk.
    Kept {
        of: Process,
        number: u64,
        record: Record,
    },
    /// Counts only if the machine still wants it then.
    Tick(usize),
    /// The monitor looks; what it reads it hears later.
    MonitorLooks,
    MonitorHears(Option<Lease>),
}

#[derive(Clone, Debug)]
enum Request {
    Read,
    Create(Lease),
    Update(Lease),
}

/// One run of an agent: what belongs to another run of the machine is not heard.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Process {
    machine: usize,
    start: u64,
}

#[derive(Debug, Default)]
struct Machine {
    boot: u64,
    booted: Duration,
    start: u64,
    paused_until: Duration,
    tick: Option<Duration>,
    record: Option<Record>,
    agent: Option<Session>,
}

#[derive(Debug, Default)]
struct World {
    now: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    events: u64,
    store: LeaseStore,
    machines: [Machine; 2],
    outage_until: Duration,
    /// One for each message: what the network does with it. Empty: nothing bad.
    dice: Vec<u8>,
    monitor: Option<(String, String, Duration)>,
    /// When the last accepted write of a session was sent.
    accepted: BTreeMap<(String, i32, String), Duration>,
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wall() -> WallTime {
    WallTime("2026-03-01T12:00:00Z".parse().expect("a time"))
}

impl World {
    fn at(&mut self, when: Duration, event: Event) {
        self.events += 1;
        self.queue.insert((when, self.events), event);
    }

    fn die(&mut self) -> u8 {
        self.dice.pop().unwrap_or(0)
    }

    /// When the copies of a message arrive.
    fn travels(&mut self) -> Vec<Duration> {
        let now = self.now;
        let late = |after: u64| vec![now + Duration::from_millis(after)];
        match self.die() {
            0..120 => late(1),
            120..150 => late(700),
            150..180 => late(1_900),
            180..200 => late(5_000),
            200..210 => late(30_000),
            210..230 => [late(1), late(4_000)].concat(),
            _ => Vec::new(),
        }
    }

    fn run_until(&mut self, end: Duration) -> Result<(), TestCaseError> {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((when, _), event) = entry.remove_entry();
            self.now = self.now.max(when);
            self.check()?;
            self.happen(event);
            self.check()?;
        }
        self.now = end;
        self.check()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deed(deed) => self.deed(deed),
            Event::Arrive { from, number, sent, request } => self.arrive(from, number, sent, request),
            Event::Hear { to, input } => {
                let machine = &self.machines[to.machine];
                if machine.start != to.start || machine.agent.is_none() {
                    return;
                }
                match machine.paused_until {
                    until if until > self.now => self.at(until, Event::Hear { to, input }),
                    _ => self.feed(to.machine, input),
                }
            }
            Event::Kept { of, number, record } => {
                if self.machines[of.machine].start == of.start && self.machines[of.machine].agent.is_some() {
                    self.machines[of.machine].record = Some(record);
                    self.happen(Event::Hear { to: of, input: Input::Persisted(number) });
                }
            }
            Event::Tick(machine) if self.machines[machine].tick != Some(self.now) => {}
            Event::Tick(machine) => {
                self.machines[machine].tick = None;
                let to = Process { machine, start: self.machines[machine].start };
                self.happen(Event::Hear { to, input: Input::Tick });
            }
            Event::MonitorLooks => {
                self.at(self.now + s(1), Event::MonitorLooks);
                let lease = self.store.lease().cloned();
                if self.outage_until <= self.now {
                    for when in self.travels() {
                        self.at(when, Event::MonitorHears(lease.clone()));
                    }
                }
            }
            Event::MonitorHears(lease) => self.monitor_hears(lease),
        }
    }

    fn deed(&mut self, deed: Deed) {
        match deed {
            Deed::Start(machine) => self.start(machine),
            Deed::Boot(machine) => {
                self.machines[machine].boot += 1;
                self.machines[machine].booted = self.now;
                self.start(machine);
            }
            Deed::Kill(machine) => self.machines[machine].agent = None,
            Deed::Pause(machine, span) => self.machines[machine].paused_until = self.now + span,
            Deed::Wipe(machine) => {
                self.machines[machine].agent = None;
                self.machines[machine].record = None;
            }
            Deed::Lose => self.store.lose(),
            Deed::Outage(span) => self.outage_until = self.now + span,
        }
    }

    fn start(&mut self, index: usize) {
        let clock = self.clock(index);
        let machine = &mut self.machines[index];
        machine.start += 1;
        machine.paused_until = Duration::ZERO;
        let claimant = Claimant {
            node: "n".to_owned(),
            machine_id: format!("machine{index}"),
            boot_id: format!("boot{index}-{}", machine.boot),
            nonce: machine.start,
        };
        let config = SessionConfig::default();
        machine.agent = Some(Session::new(claimant, machine.record.clone(), config, clock, wall()));
        self.feed(index, Input::Tick);
    }

    /// The machine's own clock: time since its boot.
    fn clock(&self, machine: usize) -> Instant {
        Instant::from_boot(self.now.saturating_sub(self.machines[machine].booted))
    }

    fn feed(&mut self, index: usize, input: Input) {
        let clock = self.clock(index);
        let booted = self.machines[index].booted;
        let of = Process { machine: index, start: self.machines[index].start };
        let Some(agent) = &mut self.machines[index].agent else { return };
        agent.handle(input, clock, wall());
        let effects: Vec<Effect> = std::iter::from_fn(|| agent.next_effect()).collect();
        let deadline = agent.next_deadline();
        for effect in effects {
            self.perform(of, effect);
        }
        let tick = deadline.map(|deadline| (booted + deadline.since_boot()).max(self.now));
        if tick != std::mem::replace(&mut self.machines[index].tick, tick)
            && let Some(tick) = tick
        {
            self.at(tick, Event::Tick(index));
        }
    }

    fn perform(&mut self, of: Process, effect: Effect) {
        let slow = [0, 0, 0, 50, 3_000][usize::from(self.dice.last().copied().unwrap_or(0)) % 5];
        let later = self.now + Duration::from_millis(slow);
        match effect {
            Effect::Read(number) => self.send(of, number, &Request::Read),
            Effect::Create(number, lease) => self.send(of, number, &Request::Create(*lease)),
            Effect::Update(number, lease) => self.send(of, number, &Request::Update(*lease)),
            Effect::Persist(number, record) => self.at(later, Event::Kept { of, number, record: *record }),
            Effect::Fence(number) => self.at(later, Event::Hear { to: of, input: Input::Fenced(number) }),
            Effect::CloseConnection | Effect::Report(_) => {}
        }
    }

    fn send(&mut self, from: Process, number: u64, request: &Request) {
        for when in self.travels() {
            let (sent, request) = (self.now, request.clone());
            self.at(when, Event::Arrive { from, number, sent, request });
        }
    }

    fn arrive(&mut self, from: Process, number: u64, sent: Duration, request: Request) {
        if self.outage_until > self.now {
            return;
        }
        let answer = match request {
            Request::Read => {
                let booted = self.machines[from.machine].booted;
                self.store.read(Instant::from_boot(sent.saturating_sub(booted)))
            }
            Request::Create(lease) => self.store.create(lease),
            Request::Update(lease) => self.store.update(lease),
        };
        if let Answer::Written(lease) = &answer {
            let key = (wire::uid(lease).to_owned(), wire::epoch(lease), wire::holder(lease).to_owned());
            let last = self.accepted.entry(key).or_default();
            *last = sent.max(*last);
        }
        for when in self.travels() {
            let input = Input::Answer(number, answer.clone());
            self.at(when, Event::Hear { to: from, input });
        }
    }

    /// Revokes what it has seen unchanged for D + M.
    fn monitor_hears(&mut self, lease: Option<Lease>) {
        let Some(lease) = lease else { return };
        let (uid, version) = (wire::uid(&lease).to_owned(), wire::version(&lease).to_owned());
        match &self.monitor {
            Some((known, at, since)) if *known == uid && *at == version => {
                let expired = self.now >= *since + D + M && !wire::holder(&lease).is_empty();
                let same = self.store.lease().is_some_and(|now| wire::version(now) == version);
                if expired && same {
                    self.store.revoke();
                }
            }
            _ => self.monitor = Some((uid, version, self.now)),
        }
    }

    /// The oracle.
    fn check(&self) -> Result<(), TestCaseError> {
        let mut holders = 0;
        for (index, machine) in self.machines.iter().enumerate() {
            let Some(agent) = &machine.agent else { continue };
            let Some((session, deadline)) = agent.held(self.clock(index)) else { continue };
            holders += 1;
            let record = machine.record.clone();
            let known = Taken::As { lease_uid: session.lease_uid.clone(), epoch: session.epoch };
            prop_assert_eq!(record.as_ref().map(|r| &r.taken), Some(&known), "its number is on disk");
            let holder = record.map(|record| record.holder).unwrap_or_default();
            let sent = self.accepted.get(&(session.lease_uid.clone(), session.epoch, holder.clone()));
            let until = machine.booted + deadline.since_boot();
            prop_assert!(
                sent.is_some_and(|sent| until <= *sent + D),
                "machine {} believes until {:?}, its last accepted renewal left at {:?}",
                index,
                until,
                sent
            );
            let lease = self.store.lease().filter(|lease| wire::uid(lease) == session.lease_uid);
            let broken = lease
                .is_some_and(|lease| wire::holder(lease) != holder || wire::epoch(lease) != session.epoch);
            prop_assert!(!broken, "machine {} believes in a session that was revoked or taken", index);
        }
        prop_assert!(holders <= 1, "two machines hold one session");
        Ok(())
    }
}

fn deeds() -> impl Strategy<Value = Vec<(Duration, Deed)>> {
    let machine = prop_oneof![3 => Just(0usize), 1 => Just(1)];
    let span = (0u64..40).prop_map(s);
    let deed = prop_oneof![
        4 => machine.clone().prop_map(Deed::Start),
        2 => machine.clone().prop_map(Deed::Boot),
        2 => machine.clone().prop_map(Deed::Kill),
        2 => (machine.clone(), span.clone()).prop_map(|(machine, span)| Deed::Pause(machine, span)),
        1 => machine.prop_map(Deed::Wipe),
        2 => Just(Deed::Lose),
        2 => span.prop_map(Deed::Outage),
    ];
    let gap = prop_oneof![Just(0u64), 1u64..5_000, 1u64..60_000].prop_map(Duration::from_millis);
    proptest::collection::vec((gap, deed), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_node_believes_in_its_session_past_its_last_accepted_renewal_and_never_do_two(
        deeds in deeds(),
        dice in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut world = World { dice, ..World::default() };
        let mut when = Duration::ZERO;
        world.at(when, Event::MonitorLooks);
        world.at(when, Event::Deed(Deed::Boot(0)));
        for (gap, deed) in deeds {
            when += gap;
            world.at(when, Event::Deed(deed));
        }
        world.run_until(when + s(60))?;

        // The faults stop: within D + M for the wait, and a few requests, somebody holds the session for good.
        world.dice.clear();
        world.outage_until = Duration::ZERO;
        world.at(world.now, Event::Deed(Deed::Start(0)));
        world.run_until(world.now + s(90))?;
        for _ in 0..30 {
            world.run_until(world.now + s(1))?;
            let held = (0..2).any(|index| {
                let agent = world.machines[index].agent.as_ref();
                agent.is_some_and(|agent| agent.held(world.clock(index)).is_some())
            });
            prop_assert!(held, "nobody holds the session although nothing is in the way");
        }
    }
}
