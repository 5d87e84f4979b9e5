//! One node name, its Lease, and the agents that want it.
//!
//! ```text
//! boot M [boot=B] [duration=20s]   start an agent on machine M; its disk keeps its record, a new boot ends its processes
//! kill M                           kill the agent; its Pods run on
//! run 12s                          let time pass; answers take no time
//! coordinator up|down              down: requests are lost
//! coordinator deaf [after 3]       requests arrive, and their answers are lost (after three that are not)
//! lease lose|revoke|show           the Lease vanishes; is broken by compare-and-swap; is printed
//! release M                        the agent gives its session up
//! ```
//! Every machine's clock starts at its boot; the times printed are those of the scenario.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use leasehold::lease::session::{Answer, Claimant, Effect, Input, Record, Report, Session, Taken};
use leasehold::lease::timings::SessionTimings;
use leasehold::lease::wire;
use leasehold::time::{Instant, WallTime};

use super::World;
use super::lease_store::LeaseStore;

#[derive(Debug, Default, PartialEq)]
enum Coordinator {
    #[default]
    Up,
    Down,
    /// Gives this many answers more.
    Deaf {
        answers: u32,
    },
}

#[derive(Debug, Default)]
struct Machine {
    boot: String,
    booted: Duration,
    starts: u64,
    record: Option<Record>,
    agent: Option<Session>,
}

#[derive(Debug, Default)]
pub(crate) struct SessionWorld {
    now: Duration,
    coordinator: Coordinator,
    store: LeaseStore,
    machines: BTreeMap<String, Machine>,
    told: Vec<(String, u32)>,
}

impl World for SessionWorld {
    fn input(&mut self, line: &str, _body: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["boot", machine, options @ ..] => self.boot(machine, options),
            ["kill", machine] => self.machine(machine).agent = None,
            ["run", span] => self.run(seconds(span)),
            ["coordinator", "up"] => self.coordinator = Coordinator::Up,
            ["coordinator", "down"] => self.coordinator = Coordinator::Down,
            ["coordinator", "deaf"] => self.coordinator = Coordinator::Deaf { answers: 0 },
            ["coordinator", "deaf", "after", answers] => {
                self.coordinator = Coordinator::Deaf { answers: answers.parse().expect("a number") };
            }
            ["lease", "lose"] => self.store.lose(),
            ["lease", "revoke"] => self.store.revoke(),
            ["lease", "show"] => return show(self.store.lease()),
            ["release", machine] => self.feed(machine, Input::Release),
            _ => panic!("no such input: {line}"),
        }
        String::new()
    }

    fn end_of_block(&mut self) -> String {
        let mut answer = String::new();
        for (text, times) in std::mem::take(&mut self.told) {
            let _ = match times {
                1 => writeln!(answer, "{text}"),
                times => writeln!(answer, "{text} ({times} times)"),
            };
        }
        let names: Vec<String> = self.machines.keys().cloned().collect();
        for name in names {
            let machine = &self.machines[&name];
            let Some(agent) = &machine.agent else { continue };
            let _ = match agent.held(Instant::from_boot(self.now.saturating_sub(machine.booted))) {
                Some((session, deadline)) => {
                    let until = (machine.booted + deadline.since_boot()).as_secs_f64();
                    writeln!(answer, "= {name} holds {session} until {until}s")
                }
                None => writeln!(answer, "= {name} holds nothing"),
            };
        }
        answer
    }
}

impl SessionWorld {
    fn machine(&mut self, name: &str) -> &mut Machine {
        self.machines.get_mut(name).unwrap_or_else(|| panic!("no machine {name} has booted"))
    }

    fn boot(&mut self, name: &str, options: &[&str]) {
        let now = self.now;
        let wall = wall(now);
        let machine = self.machines.entry(name.to_owned()).or_default();
        let mut duration = Duration::from_secs(20);
        for option in options {
            match option.split_once('=') {
                Some(("boot", boot)) => (machine.boot, machine.booted) = (boot.to_owned(), now),
                Some(("duration", span)) => duration = seconds(span),
                _ => panic!("no such option: {option}"),
            }
        }
        machine.starts += 1;
        let claimant = Claimant {
            node: "n".to_owned(),
            machine_id: format!("id-of-{name}"),
            boot_id: machine.boot.clone(),
            nonce: machine.starts,
        };
        let config = SessionTimings::of_duration(duration).check().expect("a usable duration");
        let clock = Instant::from_boot(now.saturating_sub(machine.booted));
        machine.agent = Some(Session::new(claimant, machine.record.clone(), config, clock, wall));
        self.feed(name, Input::Tick);
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = self.machines.iter().filter_map(|(name, machine)| {
                let deadline = machine.agent.as_ref()?.next_deadline()?;
                Some((machine.booted + deadline.since_boot(), name.clone()))
            });
            match next.min().filter(|(at, _)| *at <= end) {
                Some((at, name)) => {
                    self.now = self.now.max(at);
                    self.feed(&name, Input::Tick);
                }
                None => break,
            }
        }
        self.now = end;
    }

    /// Feeds an input and everything that follows from it at once.
    fn feed(&mut self, name: &str, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let now = self.now;
            let machine = self.machine(name);
            let clock = Instant::from_boot(now.saturating_sub(machine.booted));
            let Some(agent) = &mut machine.agent else { return };
            agent.handle(input, clock, wall(now));
            let effects: Vec<Effect> = std::iter::from_fn(|| agent.next_effect()).collect();
            for effect in effects {
                inputs.extend(self.perform(name, effect));
            }
        }
    }

    fn perform(&mut self, name: &str, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Read(number) => {
                let clock = Instant::from_boot(self.now.saturating_sub(self.machine(name).booted));
                self.request(name, number, "reads the Lease", |store| store.read(clock))
            }
            Effect::Create(number, lease) => {
                let what =
                    if wire::holder(&lease).is_empty() { "creates it revoked" } else { "creates it held" };
                self.request(name, number, what, |store| store.create(*lease))
            }
            Effect::Update(number, lease) => {
                let what = purpose(&lease);
                self.request(name, number, what, |store| store.update(*lease))
            }
            Effect::CloseConnection => {
                self.tell(name, "closes the connection");
                None
            }
            Effect::Persist(number, record) => {
                let how = match &record.taken {
                    Taken::Asked => "asked".to_owned(),
                    Taken::As { lease_uid, epoch } => format!("taken as {lease_uid}/{epoch}"),
                };
                self.tell(name, &format!("keeps on disk: {} {how}", record.holder));
                self.machine(name).record = Some(*record);
                Some(Input::Persisted(number))
            }
            Effect::Fence(number) => {
                self.tell(name, "fences");
                Some(Input::Fenced(number))
            }
            Effect::Report(report) => {
                let booted = self.machine(name).booted;
                self.tell(name, &format!("says: {}", said(&report, booted)));
                None
            }
        }
    }

    fn request(
        &mut self,
        name: &str,
        number: u64,
        what: &str,
        act: impl FnOnce(&mut LeaseStore) -> Answer,
    ) -> Option<Input> {
        if self.coordinator == Coordinator::Down {
            self.tell(name, &format!("{what}: no answer"));
            return None;
        }
        let answer = act(&mut self.store);
        if let Coordinator::Deaf { answers } = &mut self.coordinator {
            if *answers == 0 {
                self.tell(name, &format!("{what}: no answer"));
                return None;
            }
            *answers -= 1;
        }
        let heard = match &answer {
            Answer::Found(lease) if wire::holder(lease).is_empty() => "held by nobody".to_owned(),
            Answer::Found(lease) => format!("held by {}", wire::holder(lease)),
            Answer::Absent { node_made: None } => "absent".to_owned(),
            Answer::Absent { node_made: Some(_) } => "absent, and the Node was made just now".to_owned(),
            Answer::Written(_) => "done".to_owned(),
            Answer::Conflict => "conflict".to_owned(),
            Answer::Failed => "failed".to_owned(),
        };
        self.tell(name, &format!("{what}: {heard}"));
        Some(Input::Answer(number, answer))
    }

    /// Adds a line; one that was told before without another between only counts.
    fn tell(&mut self, name: &str, text: &str) {
        let last = self.told.last_mut().filter(|(last, _)| {
            last.split_once(' ').is_some_and(|(_, last)| last == format!("{name} {text}"))
        });
        match last {
            Some((_, times)) => *times += 1,
            None => self.told.push((format!("{}s {name} {text}", self.now.as_secs_f64()), 1)),
        }
    }
}

/// What an update of the Lease is for.
fn purpose(lease: &Lease) -> &'static str {
    let spec = lease.spec.as_ref().expect("the machine writes a spec");
    match wire::holder(lease) {
        "" => "gives it back",
        _ if spec.acquire_time == spec.renew_time => "takes it",
        _ => "renews",
    }
}

fn said(report: &Report, booted: Duration) -> String {
    match report {
        Report::Waiting { until, .. } => {
            format!("{report}, until {}s", (booted + until.since_boot()).as_secs_f64())
        }
        Report::Held(_) | Report::Lapsed(_) | Report::Refused(_) | Report::Released => report.to_string(),
    }
}

fn show(lease: Option<&Lease>) -> String {
    match lease {
        Some(lease) => serde_json::to_string_pretty(lease).expect("a Lease is JSON") + "\n",
        None => "there is no Lease\n".to_owned(),
    }
}

fn seconds(text: &str) -> Duration {
    let number = text.strip_suffix('s').and_then(|number| number.parse().ok());
    Duration::from_secs_f64(number.unwrap_or_else(|| panic!("{text}: expected seconds, as 12s")))
}

fn wall(now: Duration) -> WallTime {
    let epoch: jiff::Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
    WallTime(epoch + jiff::SignedDuration::try_from(now).expect("a short scenario"))
}
