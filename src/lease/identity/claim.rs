//! The holder's side: what each state does with what it hears.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use k8s_openapi::api::coordination::v1::Lease;

use super::{Claim, Effect, Input, Report, Request, State, Wanted, wire};
use crate::lease::fence::FenceLevel;
use crate::lease::rule::{Rule, is_kept};
use crate::lease::session::{Answer, SessionId};
use crate::lease::shard::Held;
use crate::lease::timings::SessionConfig;
use crate::lease::wire as leases;
use crate::time::{Instant, WallTime};

/// What a Lease that was read means to a claim.
enum Verdict {
    Own,
    FreeFrom(Instant),
    HeldBy(String),
}

impl Claim {
    /// A machine that holds nothing yet. Before `quiet_until` nothing is taken: the store was found to be another.
    pub fn new(
        wanted: Wanted,
        config: SessionConfig,
        quiet_until: Instant,
        now: Instant,
        wall: WallTime,
    ) -> Self {
        Self {
            wanted,
            config,
            state: if is_kept(Rule::ArmFirst) { State::Arming } else { State::Taking(None) },
            session: None,
            level: if is_kept(Rule::ArmFirst) { FenceLevel::None } else { FenceLevel::Kill },
            held: BTreeMap::new(),
            lost: BTreeMap::new(),
            unconfirmed: None,
            quiet_until,
            request: None,
            doubtful: None,
            not_before: now,
            number: 0,
            wall,
            effects: VecDeque::new(),
        }
    }

    /// Takes one input in. `held` is the session now; `now` may not run backwards.
    pub fn handle(&mut self, input: Input, held: Held<'_>, now: Instant, wall: WallTime) {
        self.wall = wall;
        self.follow(held, now);
        match input {
            Input::Armed(number, level) => self.armed(number, level, now),
            Input::Answer(number, answer) => self.answered(number, answer, now),
            Input::Seen(lease) => self.seen(&lease),
            Input::Gone(name) => self.gone(&name),
            Input::Regressed => self.regressed(now),
            Input::GiveBack => self.give_back(),
            Input::Tick => {}
        }
        self.pass(held, now);
    }

    /// The next thing to do, if any.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self, held: Held<'_>, now: Instant) -> Option<Instant> {
        let timeout = self.config.timeout();
        let unconfirmed = self.unconfirmed.as_ref().map(|(_, until)| *until);
        let next = match &self.request {
            Some(request) => Some(request.sent + timeout),
            None if self.wants_something() => Some(self.not_before)
                .filter(|at| held.is_some_and(|(_, deadline)| now.max(*at) + timeout <= deadline)),
            None => None,
        };
        [unconfirmed, next].into_iter().flatten().min()
    }

    /// Whether everything is held, now.
    pub fn is_held(&self, held: Held<'_>) -> bool {
        self.state == State::Held && held.is_some_and(|(session, _)| self.session.as_ref() == Some(session))
    }

    /// Nothing is held and nothing more is wanted.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn wants_something(&self) -> bool {
        match self.state {
            State::Arming | State::Taking(_) | State::GivingBack(_) => true,
            State::Held => self.unconfirmed.is_some(),
            State::Done => false,
        }
    }

    /// A claim lives under one session.
    fn follow(&mut self, held: Held<'_>, now: Instant) {
        let session = held.map(|(session, _)| session);
        if self.session.is_none() {
            self.session = session.cloned();
        } else if self.session.as_ref() != session {
            self.lose();
        }
        if self.unconfirmed.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.lose();
        }
    }

    fn lose(&mut self) {
        if self.state != State::Done {
            self.finish(Report::Lost);
        }
    }

    fn finish(&mut self, report: Report) {
        self.state = State::Done;
        self.held.clear();
        (self.request, self.unconfirmed) = (None, None);
        self.effects.push_back(Effect::Report(report));
    }

    fn pass(&mut self, held: Held<'_>, now: Instant) {
        let timeout = self.config.timeout();
        if let Some(request) = self.request.take_if(|request| now >= request.sent + timeout) {
            let at = now.max(request.sent + timeout);
            self.doubt(request);
            self.again(at);
        }
        let in_time = held.is_some_and(|(_, deadline)| now + timeout <= deadline);
        while self.request.is_none() && self.wants_something() && in_time && now >= self.not_before {
            let Some(session) = self.session.clone() else { return };
            self.step(&session, now);
        }
    }

    /// A write without an answer may be done yet.
    fn doubt(&mut self, request: Request) {
        if request.writes {
            self.doubtful = request.name;
        }
    }

    /// What was under way is begun again: what was written is not known.
    fn again(&mut self, at: Instant) {
        self.not_before = at;
        if let State::Taking(lease) = &mut self.state {
            *lease = None;
        }
    }

    fn step(&mut self, session: &SessionId, now: Instant) {
        match self.state.clone() {
            State::Arming => self.send(None, now, Effect::Arm),
            State::Taking(Some(lease)) => {
                let name = name_of(&lease);
                let taken = wire::taken(*lease, self.stamp(session));
                self.send(Some(name), now, |number| Effect::Update(number, Box::new(taken)));
            }
            State::Taking(None) => {
                let next = self.wanted.names.iter().find(|name| !self.held.contains_key(*name)).cloned();
                if let Some(name) = next {
                    self.read(name, now);
                } else {
                    self.state = State::Held;
                    let epochs =
                        self.held.iter().map(|(name, lease)| (name.clone(), leases::epoch(lease))).collect();
                    let report = Report::Held { session: session.clone(), epochs };
                    self.effects.push_back(Effect::Report(report));
                }
            }
            State::Held => {
                if let Some(name) = self.unconfirmed.as_ref().and_then(|(names, _)| names.first().cloned()) {
                    self.read(name, now);
                }
            }
            State::GivingBack(_)
                if self.doubtful.as_ref().is_some_and(|name| !self.held.contains_key(name)) =>
            {
                let name = self.doubtful.clone().unwrap_or_default();
                self.read(name, now);
            }
            State::GivingBack(why) => match self.held.last_key_value() {
                Some((name, lease)) => {
                    let (name, freed) = (name.clone(), Box::new(wire::freed((**lease).clone())));
                    self.send(Some(name), now, |number| Effect::Update(number, freed));
                }
                None => self.finish(match why {
                    Some((name, holder)) => Report::Refused { name, holder },
                    None => Report::GivenBack,
                }),
            },
            State::Done => {}
        }
    }

    fn stamp<'a>(&'a self, session: &'a SessionId) -> wire::Stamp<'a> {
        wire::Stamp { session, pod_uid: &self.wanted.pod_uid, level: self.level, wall: self.wall }
    }

    fn read(&mut self, name: String, now: Instant) {
        self.send(Some(name.clone()), now, |number| Effect::Read(number, name));
    }

    fn send(&mut self, name: Option<String>, now: Instant, effect: impl FnOnce(u64) -> Effect) {
        self.number += 1;
        let effect = effect(self.number);
        let writes = matches!(effect, Effect::Update(..) | Effect::Create(..));
        self.request = Some(Request { number: self.number, name, sent: now, writes });
        self.effects.push_back(effect);
    }

    // --- Inputs ----------------------------------------------------------------------------------------------------

    fn armed(&mut self, number: u64, level: FenceLevel, now: Instant) {
        if self.state == State::Arming && self.request.take_if(|request| request.number == number).is_some() {
            self.level = level;
            self.state = State::Taking(None);
            self.not_before = now.max(self.quiet_until);
        }
    }

    fn give_back(&mut self) {
        match self.state {
            State::Arming | State::Taking(_) | State::Held => {
                if let Some(request) = self.request.take() {
                    self.doubt(request);
                }
                self.unconfirmed = None;
                self.state = State::GivingBack(None);
            }
            State::GivingBack(_) | State::Done => {}
        }
    }

    fn regressed(&mut self, now: Instant) {
        self.quiet_until = now + self.config.duration() + self.config.margin();
        match &mut self.state {
            State::Arming | State::GivingBack(_) | State::Done => {}
            // Nothing was started.
            State::Taking(_) => self.give_back(),
            State::Held => {
                self.request = None;
                self.not_before = now;
                let names: BTreeSet<String> = self.held.keys().cloned().collect();
                self.unconfirmed = Some((names, now + self.config.margin() / 2));
            }
        }
    }

    fn seen(&mut self, lease: &Lease) {
        let name = name_of(lease);
        let newer = self.held.get(&name).is_some_and(|held| leases::revision(lease) > leases::revision(held));
        if !newer || self.state != State::Held || self.unconfirmed.is_some() {
            return;
        }
        if self.is_own(lease) {
            self.held.insert(name, Box::new(lease.clone()));
        } else {
            self.lose();
        }
    }

    /// Whoever finds it absent creates it as revoked, and may take it D + M later.
    fn gone(&mut self, name: &str) {
        if self.state == State::Held && self.unconfirmed.is_none() && self.held.contains_key(name) {
            self.lose();
        }
    }

    fn answered(&mut self, number: u64, answer: Answer, now: Instant) {
        let Some(request) = self.request.take_if(|request| request.number == number) else { return };
        let Some(name) = request.name.clone() else { return };
        self.not_before = now;
        if request.writes && answer != Answer::Failed {
            self.doubtful.take_if(|doubtful| *doubtful == name);
        }
        match answer {
            Answer::Failed => {
                let at = now.max(request.sent + self.config.timeout());
                self.doubt(Request { name: Some(name), ..request });
                self.again(at);
            }
            Answer::Conflict => self.conflict(name, now),
            Answer::Found(lease) | Answer::Written(lease) => self.read_or_written(name, lease, now),
            Answer::Absent { .. } => self.absent(name, now),
        }
    }

    fn conflict(&mut self, name: String, now: Instant) {
        self.again(now);
        if matches!(self.state, State::GivingBack(_)) {
            self.read(name, now);
        }
    }

    fn read_or_written(&mut self, name: String, lease: Box<Lease>, now: Instant) {
        match &self.state {
            State::Taking(_) => match self.verdict(&lease, now) {
                Verdict::Own => {
                    self.held.insert(name, lease);
                    self.state = State::Taking(None);
                }
                Verdict::FreeFrom(at) if now >= at => self.state = State::Taking(Some(lease)),
                Verdict::FreeFrom(at) => {
                    self.state = State::Taking(None);
                    self.not_before = at;
                }
                Verdict::HeldBy(holder) => self.state = State::GivingBack(Some((name, holder))),
            },
            State::GivingBack(_) => {
                let doubtful = self.doubtful.as_ref() == Some(&name);
                if self.is_own(&lease) {
                    self.held.insert(name, lease);
                } else if doubtful && leases::holder(&lease).is_empty() {
                    // One more version, so that the write without an answer is refused if it comes yet.
                    let touched = Box::new(wire::touched(*lease, &self.wanted.pod_uid));
                    self.send(Some(name), now, |number| Effect::Update(number, touched));
                } else {
                    self.doubtful.take_if(|doubtful| *doubtful == name);
                    self.held.remove(&name);
                }
            }
            State::Held => self.confirm(name, lease, now),
            State::Arming | State::Done => {}
        }
    }

    /// After a regression: whoever runs takes again what the store has forgotten.
    fn confirm(&mut self, name: String, lease: Box<Lease>, now: Instant) {
        if self.is_own(&lease) {
            if let Some((names, _)) = &mut self.unconfirmed {
                names.remove(&name);
            }
            self.unconfirmed.take_if(|(names, _)| names.is_empty());
            self.held.insert(name, lease);
            return;
        }
        if !leases::holder(&lease).is_empty() {
            return self.lose();
        }
        let retaken = self.retaken(&name, *lease);
        self.send(Some(name), now, |number| Effect::Update(number, Box::new(retaken)));
    }

    /// As it was before the store forgot: the same epoch.
    fn retaken(&self, name: &str, mut lease: Lease) -> Lease {
        let known = self.held.get(name).map_or(1, |held| leases::epoch(held));
        lease.spec.get_or_insert_default().lease_transitions = Some(known - 1);
        match &self.session {
            Some(session) => wire::taken(lease, self.stamp(session)),
            None => lease,
        }
    }

    fn absent(&mut self, name: String, now: Instant) {
        match &self.state {
            State::Taking(_) => {
                let lease = Box::new(wire::recreated(&name, self.config.duration()));
                self.send(Some(name), now, |number| Effect::Create(number, lease));
            }
            State::Held => {
                let lease = Box::new(self.retaken(&name, wire::inert(&name)));
                self.send(Some(name), now, |number| Effect::Create(number, lease));
            }
            State::GivingBack(_) => {
                self.doubtful.take_if(|doubtful| *doubtful == name);
                self.held.remove(&name);
            }
            State::Arming | State::Done => {}
        }
    }

    fn is_own(&self, lease: &Lease) -> bool {
        let session = wire::session(lease);
        let its_pod = wire::pod_uid(lease) == self.wanted.pod_uid || !is_kept(Rule::OnePod);
        session.is_some() && session == self.session && its_pod
    }

    fn verdict(&mut self, lease: &Lease, now: Instant) -> Verdict {
        if self.is_own(lease) {
            return Verdict::Own;
        }
        let holder = leases::holder(lease);
        match wire::session(lease) {
            Some(session) if self.wanted.past.contains(&session) => Verdict::FreeFrom(now),
            _ if !holder.is_empty() => Verdict::HeldBy(holder.to_owned()),
            _ => Verdict::FreeFrom(self.free_from(lease, now)),
        }
    }

    /// From when on an identity that names nobody is free.
    fn free_from(&mut self, lease: &Lease, now: Instant) -> Instant {
        if !wire::is_recreated(lease) {
            return now;
        }
        let (version, duration) = (leases::revision(lease), leases::duration(lease).unwrap_or_default());
        let seen = self.lost.entry(name_of(lease)).or_insert((version, now));
        if seen.0 != version {
            *seen = (version, now);
        }
        seen.1 + duration.max(self.config.duration()) + self.config.margin()
    }
}

fn name_of(lease: &Lease) -> String {
    lease.metadata.name.clone().unwrap_or_default()
}
