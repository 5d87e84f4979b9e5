//! Taking a session, keeping it, losing it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::{
    Claimant, Effect, Held, Kind, Lapse, Past, Record, Renewal, Report, Request, Session, SessionId, State,
    Stored, Taken, Target, Wait,
};
use crate::lease::rule::{Rule, is_kept};
use crate::lease::wire::{self, Stamp};
use crate::time::Instant;

impl Session {
    /// Whether a Lease that is not ours can be taken: now, later, or not while its holder lives.
    pub(super) fn judge(&mut self, lease: &Lease, now: Instant) {
        let holder = wire::holder(lease);
        let over = !holder.is_empty() && self.ended().contains(&Some(holder));
        let free = holder.is_empty() && wire::epoch(lease) > 0;
        let since = self.seen.as_ref().map_or(now, |seen| seen.since);
        let until = since + wire::duration(lease).unwrap_or(self.config.duration()) + self.config.margin();
        if over || free || now >= until {
            return self.take(Target::Update(Box::new(lease.clone())), now);
        }
        self.state = State::Looking;
        self.not_before = until.min(now + self.config.renew_every());
        let alive = self.seen.as_ref().is_some_and(|seen| seen.alive);
        let why = match holder {
            "" => Wait::Recreated,
            holder => Wait::HeldBy {
                node: self.claimant.node.clone(),
                holder: holder.to_owned(),
                machine_id: wire::annotation(lease, wire::MACHINE).map(str::to_owned),
            },
        };
        self.report(if alive { Report::Refused(why) } else { Report::Waiting { until, why } });
    }

    /// Holders' names of this machine whose sessions are over for certain.
    pub(super) fn ended(&self) -> [Option<&str>; 2] {
        match &self.past {
            Past::Over(record) if record.machine_id == self.claimant.machine_id => {
                [Some(&record.holder), record.follows.as_deref()]
            }
            Past::Asked(record) => [record.follows.as_deref(), None],
            Past::Over(_) | Past::Own(_) | Past::Never => [None, None],
        }
    }

    /// Takes what nobody can believe to hold; what an earlier session left is fenced before.
    pub(super) fn take(&mut self, target: Target, now: Instant) {
        if self.fenced { self.prepare(target, now) } else { self.fence(Some(target)) }
    }

    /// Created as revoked: this node may take it when everybody else may.
    pub(super) fn recreated(&mut self, lease: &Lease, now: Instant) {
        self.note(lease, now);
        self.look_again(now);
        self.not_before = now + self.config.renew_every();
        if matches!(self.state, State::Looking) {
            self.judge(lease, now);
        }
    }

    /// Persist, then speak: the holder's name is on disk before it is in the Lease. A name that was asked with and got
    /// no answer is asked with again: whichever of its writes is accepted, this node knows it for its own.
    pub(super) fn prepare(&mut self, target: Target, now: Instant) {
        if let Past::Asked(record) = &self.past {
            let record = record.clone();
            return self.write_take(target, record, now);
        }
        self.asked += 1;
        let Claimant { node, machine_id, boot_id, nonce } = &self.claimant;
        let record = Record {
            holder: format!("{node}/{boot_id}/{nonce:016x}-{}", self.asked),
            machine_id: machine_id.clone(),
            boot_id: boot_id.clone(),
            duration_seconds: self.config.duration().as_secs(),
            follows: match &self.past {
                Past::Over(record) => Some(record.holder.clone()),
                Past::Never | Past::Asked(_) | Past::Own(_) => None,
            },
            taken: Taken::Asked,
        };
        let number = self.persist(&record, now);
        self.state = State::Preparing { number, target, record };
    }

    pub(super) fn persisted(&mut self, number: u64, now: Instant) {
        if self.persisting.as_ref().is_some_and(|persisting| persisting.number == number) {
            self.persisting = None;
        }
        if let State::Preparing { number: wanted, target, record } = &self.state {
            if *wanted == number {
                let (target, record) = (target.clone(), record.clone());
                self.write_take(target, record, now);
            }
        } else if let State::Held(held) = &mut self.state
            && held.stored == (Stored::No { number })
        {
            held.stored = Stored::Yes;
            let report = Report::Held(held.id.clone());
            self.report(report);
        }
    }

    pub(super) fn write_take(&mut self, target: Target, record: Record, now: Instant) {
        let stamp = Stamp {
            holder: &record.holder,
            machine_id: &record.machine_id,
            duration: Duration::from_secs(record.duration_seconds),
            sent: now,
            wall: self.wall,
        };
        match target {
            Target::Create { not_after } if now > not_after => {
                self.past = Past::Asked(record);
                self.state = State::Looking;
                self.not_before = now;
                return;
            }
            Target::Create { .. } => {
                let base = wire::revoked(&self.claimant.node, stamp.duration);
                let lease = Box::new(wire::taken(base, &stamp));
                self.send(Kind::Take, now, |number| Effect::Create(number, lease));
            }
            Target::Update(lease) => {
                let lease = Box::new(wire::taken(*lease, &stamp));
                self.send(Kind::Take, now, |number| Effect::Update(number, lease));
            }
        }
        self.past = Past::Asked(record);
        self.state = State::Taking;
    }

    pub(super) fn took(&mut self, request: Request, lease: Lease, now: Instant) {
        let Past::Asked(record) = &self.past else { return };
        if wire::holder(&lease) != record.holder {
            self.state = State::Looking;
            return;
        }
        let record = record.clone();
        self.hold(&record, lease, request.sent, now);
        self.not_before = request.sent + self.pace().renew_every();
    }

    /// The Lease names the session that this agent's record names: go on with it where it left off.
    pub(super) fn resume(&mut self, record: &Record, lease: Lease, now: Instant) {
        let sent = wire::sent_at(&lease).filter(|sent| *sent <= now);
        match sent.filter(|sent| now < *sent + record.duration_in(&lease)) {
            Some(sent) if !self.releasing => {
                self.hold(record, lease, sent, now);
                self.not_before = now;
            }
            Some(_) => self.lapse(Lapse::Released),
            None => self.lapse(Lapse::Expired),
        }
    }

    /// Held, by a write that left at `sent` and was accepted.
    fn hold(&mut self, record: &Record, lease: Lease, sent: Instant, now: Instant) {
        let duration = record.duration_in(&lease);
        let deadline = sent + duration;
        let id = SessionId {
            node: self.claimant.node.clone(),
            lease_uid: wire::uid(&lease).to_owned(),
            epoch: wire::epoch(&lease),
        };
        let taken = Taken::As { lease_uid: id.lease_uid.clone(), epoch: id.epoch };
        let numbered = Record { taken, duration_seconds: duration.as_secs(), ..record.clone() };
        let stored = if numbered == *record {
            self.report(Report::Held(id.clone()));
            Stored::Yes
        } else {
            Stored::No { number: self.persist(&numbered, now) }
        };
        self.past = Past::Own(numbered);
        self.seen = None;
        self.fenced = false;
        let (lease, renewal) = (Box::new(lease), Renewal::Write);
        self.state = State::Held(Held { id, lease, duration, deadline, stored, renewal });
    }

    pub(super) fn renew(&mut self, now: Instant) {
        let (State::Held(held), Past::Own(record)) = (&self.state, &self.past) else { return };
        let stamp = Stamp {
            holder: &record.holder,
            machine_id: &record.machine_id,
            duration: held.duration,
            sent: now,
            wall: self.wall,
        };
        let lease = if is_kept(Rule::RenewForReal) {
            Box::new(wire::renewed((*held.lease).clone(), &stamp))
        } else {
            held.lease.clone()
        };
        self.send(Kind::Renew, now, |number| Effect::Update(number, lease));
    }

    pub(super) fn renewed(&mut self, request: Request, lease: Lease, now: Instant) {
        let pace = self.pace();
        let State::Held(held) = &mut self.state else { return };
        let unchanged = wire::version(&lease) == wire::version(&held.lease) && is_kept(Rule::RenewForReal);
        if wire::uid(&lease) != held.id.lease_uid || unchanged {
            return self.failed(request, now);
        }
        let from = if is_kept(Rule::CountFromSending) { request.sent } else { now };
        held.deadline = held.deadline.max(from + held.duration);
        *held.lease = lease;
        self.not_before = request.sent + pace.renew_every();
    }

    /// The session is over: fence, and only then look for the next.
    pub(super) fn lapse(&mut self, why: Lapse) {
        if self.request.take().is_some() {
            self.effects.push_back(Effect::CloseConnection);
        }
        self.persisting = None;
        self.fence(None);
        self.report(Report::Lapsed(why));
    }

    pub(super) fn fence(&mut self, next: Option<Target>) {
        let number = self.next_number();
        self.state = State::Fencing { number, next };
        self.effects.push_back(Effect::Fence(number));
    }

    pub(super) fn fenced(&mut self, number: u64, now: Instant) {
        let next = match &mut self.state {
            State::Fencing { number: wanted, next } if *wanted == number => next.take(),
            State::Fencing { .. }
            | State::Looking
            | State::Preparing { .. }
            | State::Taking
            | State::Held(_)
            | State::Released => return,
        };
        match &self.past {
            Past::Own(record) => self.past = Past::Over(record.clone()),
            Past::Asked(record) if next.is_none() => self.past = Past::Over(record.clone()),
            Past::Asked(_) | Past::Over(_) | Past::Never => {}
        }
        self.not_before = now;
        self.fenced = true;
        match next {
            Some(target) => self.prepare(target, now),
            None => self.state = State::Looking,
        }
    }

    pub(super) fn release(&mut self) {
        self.releasing = true;
        if matches!(self.state, State::Held(_)) {
            self.lapse(Lapse::Released);
        }
    }

    pub(super) fn released(&mut self) {
        self.state = State::Released;
        self.report(Report::Released);
    }
}
