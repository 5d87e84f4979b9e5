//! What the coordinator's answers mean.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::{Answer, Effect, Kind, Lapse, Past, Renewal, Request, Seen, Session, State, Target};
use crate::lease::rule::{Rule, is_kept};
use crate::lease::wire;
use crate::time::Instant;

impl Session {
    pub(super) fn answered(&mut self, number: u64, answer: Answer, now: Instant) {
        let Some(request) = self.request.filter(|request| request.number == number) else { return };
        match answer {
            Answer::Found(lease) if request.kind == Kind::Look => {
                self.request = None;
                self.found(*lease, now);
            }
            Answer::Absent { node_made } => {
                self.request = None;
                self.absent(node_made, now);
            }
            Answer::Written(lease) if request.kind != Kind::Look => {
                self.request = None;
                self.written(request, *lease, now);
            }
            Answer::Conflict if request.kind != Kind::Look => {
                self.request = None;
                self.look_again(now);
            }
            // None, or one to another question.
            Answer::Failed | Answer::Found(_) | Answer::Written(_) | Answer::Conflict => {
                self.failed(request, now);
            }
        }
    }

    /// No answer: whether the write was accepted is not known. The next request leaves one time-out after this one.
    pub(super) fn failed(&mut self, request: Request, now: Instant) {
        self.request = None;
        self.not_before = now.max(request.sent + self.timeout());
        if matches!(self.state, State::Taking) {
            self.state = State::Looking;
        }
    }

    /// The Lease is not what it was: read it, at once.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.not_before = now;
        match &mut self.state {
            State::Held(held) => held.renewal = Renewal::Look,
            State::Looking | State::Taking => self.state = State::Looking,
            State::Fencing { .. } | State::Preparing { .. } | State::Released => {}
        }
    }

    pub(super) fn written(&mut self, request: Request, lease: Lease, now: Instant) {
        match request.kind {
            Kind::Renew => self.renewed(request, lease, now),
            Kind::Take => self.took(request, lease, now),
            Kind::Recreate => self.recreated(&lease, now),
            Kind::Release => self.released(),
            Kind::Look => {}
        }
    }

    pub(super) fn found(&mut self, lease: Lease, now: Instant) {
        self.note(&lease, now);
        if matches!(self.state, State::Held(_)) {
            return self.found_while_held(lease, now);
        }
        match self.past.clone() {
            Past::Own(record) | Past::Asked(record) if record.holder == wire::holder(&lease) => {
                self.resume(&record, lease, now);
            }
            Past::Own(record) if record.is_of(&lease) => self.lapse(Lapse::Revoked),
            Past::Over(record) if record.holder == wire::holder(&lease) && self.releasing => {
                let lease = Box::new(wire::released(lease));
                self.send(Kind::Release, now, |number| Effect::Update(number, lease));
            }
            _ if self.releasing => self.released(),
            Past::Own(_) | Past::Asked(_) | Past::Over(_) | Past::Never => self.judge(&lease, now),
        }
    }

    /// A look while the session is held: the Lease tells which of our writes was accepted last.
    pub(super) fn found_while_held(&mut self, lease: Lease, now: Instant) {
        let State::Held(held) = &mut self.state else { return };
        if wire::uid(&lease) != held.id.lease_uid {
            // Lost and created anew. This session can be renewed no more, and is held until its deadline.
            self.not_before = now + self.config.renew_every();
            return;
        }
        let Past::Own(record) = &self.past else { return };
        if wire::holder(&lease) != record.holder || wire::epoch(&lease) != held.id.epoch {
            return self.lapse(Lapse::Revoked);
        }
        if let Some(sent) = wire::sent_at(&lease).filter(|sent| *sent <= now) {
            let from = if is_kept(Rule::CountFoundFromSending) { sent } else { now };
            held.deadline = held.deadline.max(from + held.duration);
        }
        *held.lease = lease;
        held.renewal = Renewal::Write;
        self.not_before = now;
    }

    pub(super) fn absent(&mut self, node_made: Option<Instant>, now: Instant) {
        let first = node_made.filter(|_| matches!(self.past, Past::Never) && self.seen.is_none());
        let not_after = first.map(|made| made + self.config.margin()).filter(|latest| now <= *latest);
        if self.releasing {
            self.released();
        } else if let Some(not_after) = not_after {
            self.take(Target::Create { not_after }, now);
        } else {
            let lease = wire::revoked(&self.claimant.node, self.longest_duration());
            self.look_again(now);
            self.send(Kind::Recreate, now, |number| Effect::Create(number, Box::new(lease)));
        }
    }

    /// D of the next session, or of the last where that was longer: its holder may still believe in it.
    pub(super) fn longest_duration(&self) -> Duration {
        let last = match &self.past {
            Past::Asked(record) | Past::Own(record) | Past::Over(record) => {
                Duration::from_secs(record.duration_seconds)
            }
            Past::Never => Duration::ZERO,
        };
        self.config.duration().max(last)
    }

    /// Remembers since when the Lease has been as it is.
    pub(super) fn note(&mut self, lease: &Lease, now: Instant) {
        let renewals = (
            wire::annotation(lease, wire::SERIAL).map(str::to_owned),
            lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0),
        );
        let (uid, version, holder) = (wire::uid(lease), wire::version(lease), wire::holder(lease));
        let last = self.seen.as_ref().filter(|seen| seen.uid == uid && seen.holder == holder);
        let (since, alive) = match last {
            Some(seen) if seen.version == version => (seen.since, seen.alive),
            Some(seen) => (now, seen.alive || seen.renewals != renewals),
            None => (now, false),
        };
        self.seen = Some(Seen {
            uid: uid.to_owned(),
            version: version.to_owned(),
            holder: holder.to_owned(),
            renewals,
            since,
            alive,
        });
    }
}
