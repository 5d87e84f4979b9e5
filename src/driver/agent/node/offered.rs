//! Pods that are offered to this node, or bound to it by others.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::{Input, NodeLoop};
use crate::agent::claims::admission::{self, Rejection};
use crate::agent::claims::{Action, Ground};
use crate::driver::agent::claims;
use crate::driver::agent::hosted::{Remote, as_hosted};
use crate::driver::agent::mirror;
use crate::driver::clock;
use crate::driver::recorder::Occurrence;
use crate::driver::watches::Seen;

/// Offers as they stand at the coordinator.
#[derive(Debug, Default)]
pub(super) struct OfferList {
    seen: Option<BTreeSet<String>>,
}

impl NodeLoop {
    pub(super) fn hear_offers(&mut self, seen: Seen<Pod>) {
        match seen {
            Seen::Restarted => self.offer_list.seen = Some(BTreeSet::new()),
            Seen::Listed(pod) | Seen::Applied(pod) => {
                if let Some(seen) = &mut self.offer_list.seen {
                    seen.insert(pod.metadata.uid.clone().unwrap_or_default());
                }
                self.claims.offered(&Arc::from(pod));
            }
            Seen::Deleted(pod) => self.claims.withdrawn(&pod.metadata.uid.clone().unwrap_or_default()),
            Seen::Complete => {
                let seen = self.offer_list.seen.take().unwrap_or_default();
                for uid in self.claims.standing().into_iter().filter(|uid| !seen.contains(uid)) {
                    self.claims.withdrawn(&uid);
                }
            }
            Seen::Lost(why) => tracing::debug!(why, "offers cannot be watched"),
        }
    }

    /// Answers offers; only while the coordinator is there, and what it knows of this node is known here.
    pub(super) fn answer_offers(&mut self) {
        let session = *self.hands.session_deadline.borrow();
        let timeout = self.hands.config.session.timeout();
        let may_claim = session.is_some_and(|deadline| clock::now() + timeout <= deadline);
        let is_ready = self.runtime_up;
        let Some((node, room, pods)) = self.daemon_sets.ground().filter(|_| self.whole) else { return };
        let mut ground = Ground { node, room, pods, is_ready, may_claim };
        for action in self.claims.plan(&mut ground) {
            match action {
                Action::Claim(pod) => self.claim(pod, timeout),
                Action::Decline { pod, reasons } => {
                    let hands = self.hands.clone();
                    tokio::spawn(async move {
                        let name = &hands.config.node_name;
                        if let Err(error) = claims::decline(&hands.client, &pod, name, &reasons).await {
                            // The steward passes on by itself.
                            tracing::debug!(%error, "an offer could not be declined");
                        }
                    });
                }
            }
        }
    }

    fn claim(&self, pod: Arc<Pod>, timeout: std::time::Duration) {
        let (hands, inputs) = (self.hands.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let is_won = claims::claim(&hands.client, &pod, &hands.config.node_name, timeout).await;
            let _ = inputs.send(Input::ClaimAnswered { pod, is_won }).await;
        });
    }

    pub(super) fn claim_answered(&mut self, pod: &Pod, is_won: bool) {
        let metadata = &pod.metadata;
        let uid = metadata.uid.clone().unwrap_or_default();
        tracing::info!(pod = metadata.name, namespace = metadata.namespace, uid, is_won, "claimed a Pod");
        if self.claims.claim_answered(&uid, is_won) {
            self.daemon_sets.free(&uid);
        }
        if is_won {
            let name = metadata.name.clone().unwrap_or_default();
            let namespace = metadata.namespace.clone().unwrap_or_default();
            let message =
                format!("Successfully assigned {namespace}/{name} to {}", self.hands.config.node_name);
            self.record(pod, false, "Scheduled", message);
        }
    }

    /// Pods that others have bound to this node: those it has claimed itself are hosted, the others are looked at
    /// first, the oldest first, once the node knows what it has.
    pub(super) fn admit_arrivals(&mut self) {
        if self.arrivals.is_empty() || self.daemon_sets.ground().is_none() {
            return;
        }
        let mut arrivals: Vec<Arc<Pod>> = std::mem::take(&mut self.arrivals).into_values().collect();
        arrivals.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone()));
        for pod in arrivals {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let rejection = self.daemon_sets.ground().zip(pod.spec.as_ref());
            match rejection.and_then(|((node, room, _), spec)| admission::reject(spec, node, room)) {
                Some(rejection) => self.reject(&pod, rejection),
                None => self.host_bound(&uid, &pod),
            }
        }
    }

    /// Hosts a Pod that the coordinator says is this node's.
    pub(super) fn host_bound(&mut self, uid: &str, seen: &Pod) {
        self.claims.hosted(uid);
        let remote = Remote::Known { uid: seen.metadata.uid.clone().unwrap_or_default() };
        self.host(uid, &Arc::new(as_hosted(seen, uid.to_owned())), None, remote);
    }

    fn reject(&self, pod: &Arc<Pod>, rejection: Rejection) {
        tracing::warn!(pod = pod.metadata.name, reason = rejection.reason, "a Pod was rejected");
        let Rejection { reason, message } = rejection;
        self.record(pod, true, &reason, message.clone());
        let status = PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some(reason),
            message: Some(format!("Pod was rejected: {message}")),
            start_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(clock::wall().0)),
            conditions: pod.status.as_ref().and_then(|status| status.conditions.clone()),
            ..PodStatus::default()
        };
        let (client, pod) = (self.hands.client.clone(), pod.clone());
        tokio::spawn(async move { mirror::write_last_word(client, &pod, &status).await });
    }

    fn record(&self, pod: &Pod, warning: bool, reason: &str, message: String) {
        self.hands.recorder.record(Occurrence {
            kind: ("v1", "Pod"),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            field_path: None,
            warning,
            reason: reason.to_owned(),
            message,
        });
    }

    /// Tells what room is left, where that has changed.
    pub(super) fn advertise(&mut self) {
        let wanted = self.daemon_sets.ground().map(|(_, room, _)| room.advert()).unwrap_or_default();
        self.hands.adverts.send_if_modified(|advert| {
            let changed = advert.wanted != wanted;
            advert.wanted = wanted;
            changed
        });
    }
}
