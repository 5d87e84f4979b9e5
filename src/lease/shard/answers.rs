//! What the watch and the coordinator's answers mean.

use std::collections::BTreeSet;

use k8s_openapi::api::coordination::v1::Lease;

use super::{Effect, MONITOR, Report, Shards, State, wire};
use crate::lease::session::Answer;
use crate::lease::wire as leases;
use crate::time::Instant;

impl Shards {
    pub(super) fn seen(&mut self, lease: Box<Lease>, now: Instant) {
        let Some(number) = lease.metadata.name.as_deref().and_then(wire::parse_name) else { return };
        if let Some(listing) = &mut self.listing {
            listing.insert(number);
        }
        self.note(number, Some(lease), now);
    }

    /// The newest that is known of a shard; what is older, or says nothing new, is not heard. A fresh list is right even
    /// where it is older: the store may be another, and nobody has noticed.
    fn note(&mut self, number: u32, lease: Option<Box<Lease>>, now: Instant) {
        let listing = self.listing.is_some();
        let Some(shard) = self.shards.get_mut(&number) else { return };
        if let Some(lease) = &lease {
            let version = leases::revision(lease);
            if version == shard.version || version < shard.version && !listing {
                return;
            }
            shard.version = version;
        } else if shard.lease.is_none() {
            return;
        }
        shard.holder = lease.as_deref().and_then(wire::session);
        shard.count = lease.as_deref().and_then(wire::count);
        let kept = shard.holder.is_some() && shard.holder == self.session;
        (shard.lease, shard.since) = (lease, now);
        match &mut shard.state {
            State::Held { until: Some(until), renew_at } if kept => {
                if let Some(lease) = &shard.lease {
                    *until = super::renewed_until(lease, now).max(*until);
                    let sent = leases::sent_at(lease).filter(|sent| *sent <= now).unwrap_or(now);
                    *renew_at = (sent + self.config.renew_every()).max(*renew_at);
                }
            }
            State::Held { .. } | State::Leaving { .. } if kept => {}
            State::Leaving { quiesced: true, .. } => {
                shard.state = State::Others;
                self.effects.push_back(Effect::Report(Report::GaveBack { shard: number }));
            }
            State::Held { .. } | State::Leaving { .. } => self.lose(number),
            State::Others => {}
        }
    }

    pub(super) fn gone(&mut self, number: u32, now: Instant) {
        self.note(number, None, now);
    }

    pub(super) fn complete(&mut self, now: Instant) {
        self.whole = true;
        let Some(listing) = self.listing.take() else { return };
        let missing: BTreeSet<u32> =
            self.shards.keys().filter(|number| !listing.contains(*number)).copied().collect();
        for number in missing {
            self.gone(number, now);
        }
    }

    /// Nothing that was seen counts: neither versions nor what is held.
    pub(super) fn regressed(&mut self, now: Instant) {
        self.quiet_until = now + self.config.duration() + self.config.margin();
        self.whole = false;
        self.listing = None;
        let all: Vec<u32> = self.shards.keys().copied().collect();
        for number in all {
            self.lose(number);
            if let Some(shard) = self.shards.get_mut(&number) {
                (shard.lease, shard.version, shard.since) = (None, 0, now);
                (shard.holder, shard.count) = (None, None);
                (shard.request, shard.stale, shard.not_before) = (None, false, now);
            }
        }
    }

    pub(super) fn answered(&mut self, number: u64, answer: Answer, now: Instant) {
        let under_way = |shard: &super::Shard| shard.request.is_some_and(|request| request.number == number);
        let Some((&name, shard)) = self.shards.iter_mut().find(|(_, shard)| under_way(shard)) else { return };
        let sent = shard.request.take().map_or(now, |request| request.sent);
        match answer {
            Answer::Found(lease) | Answer::Written(lease) => {
                shard.stale = false;
                shard.not_before = now;
                self.note(name, Some(lease), now);
            }
            Answer::Absent { .. } => {
                shard.stale = false;
                shard.not_before = now + self.config.renew_every();
                self.note(name, None, now);
            }
            Answer::Conflict => (shard.stale, shard.not_before) = (true, now),
            Answer::Failed => {
                (shard.stale, shard.not_before) = (true, now.max(sent + self.config.timeout()));
            }
        }
    }

    pub(super) fn quiesced(&mut self, wanted: u64) {
        for shard in self.shards.values_mut() {
            if let State::Leaving { number, quiesced } = &mut shard.state {
                *quiesced |= *number == wanted;
            }
        }
    }

    /// Told with the next renewal, which leaves at once.
    pub(super) fn set_brake(&mut self, brake: Option<String>, now: Instant) {
        if self.brake == brake {
            return;
        }
        self.brake = brake;
        if let Some(shard) = self.shards.get_mut(&MONITOR)
            && let State::Held { renew_at, .. } = &mut shard.state
        {
            *renew_at = now;
        }
    }
}
