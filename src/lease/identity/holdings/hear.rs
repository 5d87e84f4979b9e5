//! What each input changes.

use k8s_openapi::api::coordination::v1::Lease;

use super::{Effect, Holdings, Input, PAST_MAX, Seat, Wanted};
use crate::lease::identity::{self, wire};
use crate::lease::session::Answer;
use crate::lease::shard::Held;
use crate::time::{Instant, WallTime};

impl Holdings {
    /// Takes one input in. `held` is the session now.
    pub fn handle(&mut self, input: Input, held: Held<'_>, now: Instant, wall: WallTime) {
        self.follow(held);
        match input {
            Input::Wanted(wanted) => self.wanted(wanted),
            Input::Dead(uid) => self.dead(&uid, held, now, wall),
            Input::Found { identity, uid } => {
                if !self.seats.contains_key(&uid) {
                    self.lives(&identity, &uid);
                }
            }
            Input::Settled => self.settled = true,
            Input::Armed(uid, armed) => {
                if let Some(seat) = self.seats.get_mut(&uid) {
                    seat.armed = armed;
                }
                self.guard_says(&uid, held, now, wall);
            }
            Input::Answer { uid, number, answer } => {
                if let Answer::Found(lease) | Answer::Written(lease) = &answer {
                    self.read(lease);
                }
                self.tell(&uid, identity::Input::Answer(number, answer), held, now, wall);
            }
            Input::Seen(lease) => self.seen(lease, held, now, wall),
            Input::Left(name) => self.left(name),
            Input::Gone(name) => self.gone(&name, held, now, wall),
            Input::Unsure => self.sure = false,
            Input::Sure => self.sure = true,
            Input::Regressed => self.regressed(held, now, wall),
            Input::Tick => {}
        }
        self.pump(held, now, wall);
    }

    /// The sessions of this machine follow one another: each is fenced before the next is held.
    fn follow(&mut self, held: Held<'_>) {
        let session = held.map(|(session, _)| session);
        if self.session.as_ref() == session {
            return;
        }
        self.past.extend(self.session.take());
        let Some(session) = session else { return };
        self.past.remove(session);
        while self.past.len() >= PAST_MAX {
            let oldest =
                self.past.iter().min_by_key(|past| (past.lease_uid == session.lease_uid, past.epoch));
            let Some(oldest) = oldest.cloned() else { break };
            self.past.remove(&oldest);
        }
        self.session = Some(session.clone());
        // What a session of this machine held may be taken by the next.
        for seat in self.seats.values_mut() {
            seat.refused = None;
        }
        let mut all = self.past.clone();
        all.insert(session.clone());
        self.effects.push_back(Effect::Remember(all));
    }

    fn wanted(&mut self, wanted: Wanted) {
        let uid = wanted.uid.clone();
        if self.seats.contains_key(&uid) {
            return;
        }
        for name in &wanted.names {
            self.lives(name, &uid);
        }
        let seat = Seat {
            wanted,
            claim: None,
            arming: None,
            armed: None,
            refused: None,
            epoch: None,
            leaving: false,
        };
        self.seats.insert(uid, seat);
    }

    fn dead(&mut self, uid: &str, held: Held<'_>, now: Instant, wall: WallTime) {
        let Some(seat) = self.seats.get_mut(uid) else { return self.remove(uid) };
        seat.leaving = true;
        for known in self.identities.values_mut() {
            known.gate.forget(uid);
        }
        if seat.claim.is_none() {
            // What its Lease may say yet is given back as that of a Pod that is not here.
            return self.remove(uid);
        }
        self.tell(uid, identity::Input::GiveBack, held, now, wall);
    }

    fn guard_says(&mut self, uid: &str, held: Held<'_>, now: Instant, wall: WallTime) {
        let Some(seat) = self.seats.get(uid) else { return };
        if seat.armed.is_none() && seat.wanted.fenced {
            for name in seat.wanted.names.clone() {
                self.known(&name).gate.armed(uid, None);
            }
        }
        self.pass_on_arms(uid, held, now, wall);
    }

    fn seen(&mut self, lease: Box<Lease>, held: Held<'_>, now: Instant, wall: WallTime) {
        let name = lease.metadata.name.clone().unwrap_or_default();
        self.read(&lease);
        self.freeing.remove(&name);
        for uid in self.who_wants(&name) {
            self.tell(&uid, identity::Input::Seen(lease.clone()), held, now, wall);
        }
        let labels = lease.metadata.labels.as_ref();
        let label = labels.and_then(|labels| labels.get(wire::HOLDER_LABEL));
        if label == Some(&wire::holder_label(&self.node)) {
            self.own.insert(name, lease);
        } else {
            self.own.remove(&name);
        }
    }

    fn left(&mut self, name: String) {
        self.own.remove(&name);
        if !self.who_wants(&name).is_empty() {
            self.effects.push_back(Effect::Look(name));
        }
    }

    fn gone(&mut self, name: &str, held: Held<'_>, now: Instant, wall: WallTime) {
        self.own.remove(name);
        self.read_absent(name);
        for uid in self.who_wants(name) {
            if let Some(seat) = self.seats.get_mut(&uid)
                && seat.refused.as_deref() == Some(name)
            {
                seat.refused = None;
            }
            self.tell(&uid, identity::Input::Gone(name.to_owned()), held, now, wall);
        }
    }

    fn regressed(&mut self, held: Held<'_>, now: Instant, wall: WallTime) {
        self.quiet_until = now + self.config.duration() + self.config.margin();
        // Numbers of versions begin anew.
        for known in self.identities.values_mut() {
            known.revision = 0;
        }
        self.own.clear();
        let uids: Vec<String> = self.seats.keys().cloned().collect();
        for uid in uids {
            self.tell(&uid, identity::Input::Regressed, held, now, wall);
        }
    }

    fn who_wants(&self, name: &str) -> Vec<String> {
        let wants = |seat: &&Seat| seat.wanted.names.contains(name);
        self.seats.values().filter(wants).map(|seat| seat.wanted.uid.clone()).collect()
    }
}
