//! The identities of the Pods that an agent hosts: each claimed, held while the session lasts, and given back.

use k8s_openapi::api::coordination::v1::Lease;

use super::agent::Agent;
use super::calls::{Asker, What};
use super::clock::wall;
use super::host::{AGAIN, Containers};
use super::pods::name_of;
use super::store::Kind;
use super::workloads::{identity_name, pod_name};
use super::world::World;
use crate::lease::fence::gate::Named;
use crate::lease::fence::{Failover, FenceLevel, holder};
use crate::lease::identity::{self, Case, Claim, Standing, Wanted, free};
use crate::lease::session::{Answer, SessionId};
use crate::time::Instant;

impl World {
    pub(super) fn tend_claim(
        &mut self,
        agent: &mut Agent,
        uid: &str,
        held: Option<&(SessionId, Instant)>,
        now: Instant,
    ) -> bool {
        let host = &mut agent.host;
        let (config, quiet_until) = (host.config, host.quiet_until);
        let Some(hosted) = host.pods.get_mut(uid) else { return false };
        let session = held.map(|(session, deadline)| (session, *deadline));
        if hosted.claim.is_none() && hosted.wants_claim() && session.is_some() && now >= hosted.claim_at {
            let wanted = Wanted {
                names: [identity_name(name_of(&hosted.pod))].into(),
                pod_uid: uid.to_owned(),
                past: self.nodes[agent.process.node].machine.past.clone(),
            };
            let mut claim = Claim::new(wanted, config, quiet_until, now, wall());
            claim.handle(identity::Input::Tick, session, now, wall());
            hosted.claim = Some(claim);
        }
        let Some(claim) = &mut hosted.claim else { return false };
        if let Some(number) = hosted.arming {
            let armed =
                host.fence.armed(uid).filter(|(armed, _)| session.is_some_and(|(held, _)| held == *armed));
            let level = match host.level {
                FenceLevel::None => Some(FenceLevel::None),
                FenceLevel::Kill | FenceLevel::Reset => armed.map(|(_, level)| level),
            };
            if let Some(level) = level {
                hosted.arming = None;
                claim.handle(identity::Input::Armed(number, level), session, now, wall());
            }
        }
        claim.handle(identity::Input::Tick, session, now, wall());
        let effects: Vec<identity::Effect> = std::iter::from_fn(|| claim.next_effect()).collect();
        let busy = !effects.is_empty();
        for effect in effects {
            self.for_claim(agent, uid, effect, now);
        }
        busy
    }

    fn for_claim(&mut self, agent: &mut Agent, uid: &str, effect: identity::Effect, now: Instant) {
        use identity::{Effect, Report};
        let Some(hosted) = agent.host.pods.get_mut(uid) else { return };
        let number_of_pod = hosted.number;
        let identity = identity_name(name_of(&hosted.pod));
        match effect {
            Effect::Arm(number) => hosted.arming = Some(number),
            Effect::Read(number, name) => {
                self.ask(agent, Asker::Claim(number_of_pod), number, Kind::Identity, name, What::Read);
            }
            Effect::Create(number, lease) => {
                let what = What::Create(lease);
                self.ask(agent, Asker::Claim(number_of_pod), number, Kind::Identity, identity, what);
            }
            Effect::Update(number, lease) => {
                let what = What::Update(lease);
                self.ask(agent, Asker::Claim(number_of_pod), number, Kind::Identity, identity, what);
            }
            Effect::Report(report) => {
                let named = if let Report::Held { session, .. } = &report {
                    hosted.owes = false;
                    Some(Named { session: session.to_string(), pod_uid: uid.to_owned() })
                } else {
                    hosted.claim = None;
                    hosted.arming = None;
                    hosted.claim_at = now + AGAIN;
                    hosted.giving_back = false;
                    hosted.owes = report == Report::Lost;
                    None
                };
                let is_held = named.is_some();
                let uid_heard = uid.to_owned();
                match &report {
                    Report::Held { .. } => {
                        agent.host.fence.handle(holder::Input::Granted(uid_heard), now);
                    }
                    Report::Lost | Report::Refused { .. } => {
                        agent.host.fence.handle(holder::Input::Withdrawn(uid_heard), now);
                    }
                    Report::GivenBack => {}
                }
                let node = agent.process.node;
                self.tell(|world| format!("{}: {identity} for {uid}: {report:?}", world.nodes[node].name));
                // What another Pod of the identity is held for stands.
                let held = agent.session.held(now);
                let another = agent.host.pods.iter().any(|(other, it)| {
                    let same = other != uid && identity_name(name_of(&it.pod)) == identity;
                    same && it.claim.as_ref().is_some_and(|claim| claim.is_held(held))
                });
                if let Some(gate) = agent.host.gates.get_mut(&identity).filter(|_| is_held || !another) {
                    gate.read(named);
                }
                self.statistics.count(match report {
                    Report::Held { .. } => "identity held",
                    Report::Refused { .. } => "identity held by another",
                    Report::Lost => "identity lost",
                    Report::GivenBack => "identity given back",
                });
                // With the session it is the fence's to end it.
                let fenced = agent.session.held(now).is_none();
                if !is_held && !fenced && agent.host.pods[uid].containers == Containers::Running {
                    self.kill_containers(agent.process.node, uid);
                }
            }
        }
    }

    pub(super) fn claim_answered(&mut self, agent: &mut Agent, pod: u32, number: u64, answer: Answer) {
        let now = self.clock(agent.process.node);
        let held = agent.session.held(now);
        let Some(hosted) = agent.host.pods.values_mut().find(|it| it.number == pod) else { return };
        if let Some(claim) = &mut hosted.claim {
            claim.handle(identity::Input::Answer(number, answer), held, now, wall());
        }
    }

    /// After a restored backup: identities that it says this node holds may be those of Pods that have ended since.
    pub(super) fn look_for_forgotten(&mut self, agent: &mut Agent) {
        for number in 0..self.script.shape.identities {
            let name = identity_name(&pod_name(number));
            self.ask(agent, Asker::Host, 0, Kind::Identity, name, What::Read);
        }
    }

    pub(super) fn give_back_forgotten(&mut self, agent: &mut Agent, lease: &Lease) {
        let node = agent.process.node;
        let now = self.clock(node);
        let Some(holder) = identity::wire::session(lease) else { return };
        let held = agent.session.held(now).is_some_and(|(session, _)| *session == holder);
        let own = held || self.nodes[node].machine.past.contains(&holder);
        let timely = agent.session.may_claim(now, self.config.timeout());
        if !own || !timely || agent.host.pods.contains_key(identity::wire::pod_uid(lease)) {
            return;
        }
        let case = Case {
            standing: Standing::GivenBack,
            wish: Failover::Kill,
            tied: false,
            braked: false,
            out_of_service: false,
        };
        if let Ok(freed) = free(lease, case) {
            let name = lease.metadata.name.clone().unwrap_or_default();
            self.ask(agent, Asker::Host, 0, Kind::Identity, name, What::Update(Box::new(freed)));
        }
    }
}
