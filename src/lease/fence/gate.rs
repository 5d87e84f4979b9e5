//! Whether a container of an identity may start, by whatever door its Pod came.

use std::collections::BTreeMap;
use std::fmt;

use super::FenceLevel;
use crate::lease::rule::{Rule, is_kept};
use crate::lease::session::SessionId;
use crate::time::Instant;

/// What the identity's Lease says, as last read from the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `holderIdentity`; empty when nobody holds it.
    pub session: String,
    /// UID of the Pod that it is held for.
    pub pod_uid: String,
}

/// What is known of the containers of one Pod UID of an identity on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Nobody has looked since the runtime was last reached.
    Unknown,
    /// Some run, or are being started.
    Alive,
    /// All were seen dead, and its cgroup empty.
    Dead,
}

/// Everything a start depends on, of one identity on one node. Begins shut.
#[derive(Clone, Debug)]
pub struct Gate {
    node: String,
    fence: FenceLevel,
    named: Option<Named>,
    armed: BTreeMap<String, SessionId>,
    lives: BTreeMap<String, Life>,
}

/// Why a container may not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shut {
    /// The node has no session, or one that has ended.
    NoSession,
    /// The identity's Lease was not read yet, or is absent.
    Unread,
    /// Nobody holds the identity, or somebody else does.
    HeldBy(String),
    /// It is held for another Pod.
    HeldFor(String),
    /// The guard has not acknowledged this Pod under this session.
    Unarmed,
    /// Containers of an earlier Pod of this identity are not seen dead.
    Alive(String),
}

impl Gate {
    /// A gate on this node; a node that fences nothing has no guard to arm.
    pub fn new(node: &str, fence: FenceLevel) -> Self {
        Self { node: node.to_owned(), fence, named: None, armed: BTreeMap::new(), lives: BTreeMap::new() }
    }

    /// The identity's Lease was read; none where it is absent.
    pub fn read(&mut self, named: Option<Named>) {
        self.named = named;
    }

    /// The guard has acknowledged this Pod under this session; none when that is not so any more.
    pub fn armed(&mut self, pod_uid: &str, session: Option<SessionId>) {
        match session {
            Some(session) => self.armed.insert(pod_uid.to_owned(), session),
            None => self.armed.remove(pod_uid),
        };
    }

    /// What is known of a Pod's containers. A Pod that was ever here stays known until it is forgotten.
    pub fn lives(&mut self, pod_uid: &str, life: Life) {
        self.lives.insert(pod_uid.to_owned(), life);
    }

    /// The runtime was lost: what was seen alive may be dead, and what was being started may live.
    pub fn runtime_lost(&mut self) {
        for life in self.lives.values_mut() {
            *life = Life::Unknown;
        }
    }

    /// Whether any Pod of the identity is known here.
    pub fn has_lives(&self) -> bool {
        !self.lives.is_empty()
    }

    /// Whether something of this Pod may be on the node yet.
    pub fn knows(&self, pod_uid: &str) -> bool {
        self.lives.contains_key(pod_uid)
    }

    /// Nothing of this Pod is left on the node.
    pub fn forget(&mut self, pod_uid: &str) {
        self.armed.remove(pod_uid);
        self.lives.remove(pod_uid);
    }

    /// Whether a container of this Pod may start now. `session` is what the node holds, and until when.
    pub fn check(
        &self,
        pod_uid: &str,
        session: Option<(&SessionId, Instant)>,
        now: Instant,
    ) -> Result<(), Shut> {
        let own = |(session, deadline): &(&SessionId, Instant)| now < *deadline && session.node == self.node;
        let (session, _) = session.filter(own).ok_or(Shut::NoSession)?;
        let named = self.named.as_ref().ok_or(Shut::Unread)?;
        if named.session != session.to_string() {
            return Err(Shut::HeldBy(named.session.clone()));
        }
        if named.pod_uid != pod_uid {
            return Err(Shut::HeldFor(named.pod_uid.clone()));
        }
        let armed = self.armed.get(pod_uid) == Some(session) || !is_kept(Rule::ArmFirst);
        if self.fence > FenceLevel::None && !armed {
            return Err(Shut::Unarmed);
        }
        let alive = |(uid, life): &(&String, &Life)| *uid != pod_uid && **life != Life::Dead;
        match self.lives.iter().find(alive).filter(|_| is_kept(Rule::OnePod)) {
            Some((uid, _)) => Err(Shut::Alive(uid.clone())),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Shut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSession => f.write_str("the node holds no session"),
            Self::Unread => f.write_str("the identity's Lease is not known yet"),
            Self::HeldBy(holder) if holder.is_empty() => f.write_str("nobody holds the identity"),
            Self::HeldBy(holder) => write!(f, "the identity is held by {holder}"),
            Self::HeldFor(uid) => write!(f, "the identity is held for another Pod ({uid})"),
            Self::Unarmed => f.write_str("the guard has not acknowledged this Pod"),
            Self::Alive(uid) => write!(f, "containers of an earlier Pod ({uid}) are not seen dead"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn session(epoch: i32) -> SessionId {
        SessionId { node: "n".to_owned(), lease_uid: "l".to_owned(), epoch }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(seconds))
    }

    fn named(epoch: i32, uid: &str) -> Named {
        Named { session: session(epoch).to_string(), pod_uid: uid.to_owned() }
    }

    /// A gate that is open for Pod `b` in epoch 2, until 10 s; `a` was there before.
    fn open() -> Gate {
        let mut gate = Gate::new("n", FenceLevel::Kill);
        gate.read(Some(named(2, "b")));
        gate.armed("b", Some(session(2)));
        gate.lives("a", Life::Dead);
        gate.lives("b", Life::Unknown);
        gate
    }

    #[test]
    fn a_container_starts_only_when_lease_guard_and_the_dead_agree() {
        type Change = fn(&mut Gate);
        let held = session(2);
        let holds = Some((&held, at(10)));
        assert_eq!(open().check("b", holds, at(9)), Ok(()));
        assert_eq!(open().check("b", holds, at(10)), Err(Shut::NoSession));
        assert_eq!(open().check("b", None, at(9)), Err(Shut::NoSession));
        let other = SessionId { node: "m".to_owned(), ..session(2) };
        assert_eq!(open().check("b", Some((&other, at(10))), at(9)), Err(Shut::NoSession));
        assert_eq!(open().check("a", holds, at(9)), Err(Shut::HeldFor("b".to_owned())));
        let table: [(Change, Shut); 8] = [
            (|gate| gate.read(None), Shut::Unread),
            (
                |gate| gate.read(Some(Named { session: String::new(), pod_uid: "b".to_owned() })),
                Shut::HeldBy(String::new()),
            ),
            (|gate| gate.read(Some(named(1, "b"))), Shut::HeldBy("n/l/1".to_owned())),
            (|gate| gate.read(Some(named(2, "c"))), Shut::HeldFor("c".to_owned())),
            (|gate| gate.armed("b", None), Shut::Unarmed),
            (|gate| gate.armed("b", Some(session(1))), Shut::Unarmed),
            (|gate| gate.lives("a", Life::Alive), Shut::Alive("a".to_owned())),
            (Gate::runtime_lost, Shut::Alive("a".to_owned())),
        ];
        for (change, shut) in table {
            let mut gate = open();
            change(&mut gate);
            assert_eq!(gate.check("b", holds, at(9)), Err(shut));
        }
        let mut forgotten = open();
        forgotten.lives("a", Life::Alive);
        forgotten.forget("a");
        assert_eq!(forgotten.check("b", holds, at(9)), Ok(()));
    }

    #[test]
    fn a_node_that_fences_nothing_needs_no_guard_but_all_the_rest() {
        let mut gate = Gate { fence: FenceLevel::None, ..open() };
        gate.armed("b", None);
        let held = session(2);
        assert_eq!(gate.check("b", Some((&held, at(10))), at(9)), Ok(()));
        gate.lives("a", Life::Alive);
        assert_eq!(gate.check("b", Some((&held, at(10))), at(9)), Err(Shut::Alive("a".to_owned())));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Read(Option<(i32, u8)>),
        Armed(u8, Option<i32>),
        Lives(u8, Life),
        RuntimeLost,
        Forget(u8),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let life = prop_oneof![Just(Life::Unknown), Just(Life::Alive), Just(Life::Dead)];
        let one = prop_oneof![
            proptest::option::of((1..3_i32, 0..3_u8)).prop_map(Event::Read),
            (0..3_u8, proptest::option::of(1..3_i32)).prop_map(|(uid, epoch)| Event::Armed(uid, epoch)),
            (0..3_u8, life).prop_map(|(uid, life)| Event::Lives(uid, life)),
            Just(Event::RuntimeLost),
            (0..3_u8).prop_map(Event::Forget),
        ];
        proptest::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn i1_whatever_happens_at_most_one_pod_of_an_identity_may_start_and_no_other_of_it_is_alive(
            events in events()
        ) {
            let mut gate = Gate::new("n", FenceLevel::Kill);
            let mut alive = BTreeMap::<u8, Life>::new();
            let held = session(2);
            for event in events {
                match event {
                    Event::Read(lease) => {
                        gate.read(lease.map(|(epoch, uid)| named(epoch, &uid.to_string())));
                    }
                    Event::Armed(uid, epoch) => gate.armed(&uid.to_string(), epoch.map(session)),
                    Event::Lives(uid, life) => {
                        alive.insert(uid, life);
                        gate.lives(&uid.to_string(), life);
                    }
                    Event::RuntimeLost => {
                        for life in alive.values_mut() {
                            *life = Life::Unknown;
                        }
                        gate.runtime_lost();
                    }
                    Event::Forget(uid) => {
                        alive.remove(&uid);
                        gate.forget(&uid.to_string());
                    }
                }
                let open: Vec<u8> = (0..3)
                    .filter(|uid| gate.check(&uid.to_string(), Some((&held, at(10))), at(0)).is_ok())
                    .collect();
                prop_assert!(open.len() <= 1);
                for uid in open {
                    prop_assert!(alive.iter().all(|(other, life)| *other == uid || *life == Life::Dead));
                }
            }
        }
    }
}
