use std::time::Duration;

use super::*;

/// D and M, seconds.
const D: u64 = 20;
const M: u64 = 3;

fn at(seconds: u64) -> Instant {
    Instant::from_boot(Duration::from_secs(seconds))
}

fn wall() -> WallTime {
    WallTime(jiff::Timestamp::UNIX_EPOCH)
}

fn session(node: &str, epoch: i32) -> SessionId {
    SessionId { node: node.to_owned(), lease_uid: format!("uid-{node}"), epoch }
}

fn wanted(uid: &str) -> Wanted {
    Wanted {
        uid: uid.to_owned(),
        identity: "default.web-0".to_owned(),
        names: ["default.web-0".to_owned()].into(),
        fenced: true,
        may_run: false,
        has_run: false,
    }
}

/// One identity in a store, and a node `me` with a guard that acknowledges everything at once.
struct Bed {
    holdings: Holdings,
    session: Option<SessionId>,
    stored: Option<Lease>,
    version: u64,
    now: u64,
    /// What was said that nobody answers.
    said: Vec<Effect>,
}

impl Bed {
    fn new() -> Self {
        let mut lease = wire::inert("default.web-0");
        lease.metadata.resource_version = Some("1".to_owned());
        let mut bed = Self {
            holdings: Holdings::new("me", FenceLevel::Kill, SessionConfig::default(), BTreeSet::new()),
            session: Some(session("me", 1)),
            stored: Some(lease),
            version: 1,
            now: 0,
            said: Vec::new(),
        };
        bed.hear(Input::Settled);
        bed.hear(Input::Sure);
        bed
    }

    fn held(&self) -> Held<'_> {
        self.session.as_ref().map(|session| (session, at(1_000)))
    }

    /// Hears it, and has everything answered that can be.
    fn hear(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let session = self.session.clone();
            let held = session.as_ref().map(|session| (session, at(1_000)));
            self.holdings.handle(input, held, at(self.now), wall());
            while let Some(effect) = self.holdings.next_effect() {
                inputs.extend(self.answer(effect));
            }
        }
    }

    fn answer(&mut self, effect: Effect) -> Option<Input> {
        let answer = |uid, number, answer| Some(Input::Answer { uid, number, answer });
        let found = || self.stored.clone().map(Box::new);
        match effect {
            Effect::Read(uid, number, _) => {
                let absent = Answer::Absent { node_made: None };
                answer(uid, number, found().map_or(absent, Answer::Found))
            }
            Effect::Create(uid, number, lease) | Effect::Update(uid, number, lease) => {
                let written = self.write(*lease);
                answer(uid, number, Answer::Written(Box::new(written)))
            }
            Effect::Free(lease) => {
                let written = self.write(*lease);
                Some(Input::Seen(Box::new(written)))
            }
            Effect::Look(name) => Some(found().map_or(Input::Gone(name), Input::Seen)),
            other @ (Effect::Remember(_)
            | Effect::Granted { .. }
            | Effect::Withdrawn(_)
            | Effect::Superseded { .. }
            | Effect::GivenBack(_)) => {
                self.said.push(other);
                None
            }
        }
    }

    fn write(&mut self, mut lease: Lease) -> Lease {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.stored = Some(lease.clone());
        lease
    }

    /// Somebody else writes, and the watch shows it.
    fn shown(&mut self, lease: Lease) {
        let written = self.write(lease);
        self.hear(Input::Seen(Box::new(written)));
    }

    fn arm(&mut self, uid: &str) {
        let armed = self.session.clone().map(|session| (session, FenceLevel::Kill));
        self.hear(Input::Armed(uid.to_owned(), armed));
    }

    fn check(&self, uid: &str) -> Result<i32, Shut> {
        self.holdings.check(uid, self.held(), at(self.now))
    }

    fn taken(&self, by: &SessionId, uid: &str) -> Lease {
        let lease = self.stored.clone().expect("stored");
        let stamp = wire::Stamp { session: by, pod_uid: uid, level: FenceLevel::Kill, wall: wall() };
        wire::taken(lease, stamp)
    }

    fn holder(&self) -> String {
        leases::holder(self.stored.as_ref().expect("stored")).to_owned()
    }

    fn hosting(uid: &str) -> Self {
        let mut bed = Self::new();
        bed.hear(Input::Wanted(wanted(uid)));
        bed.arm(uid);
        assert_eq!(bed.check(uid), Ok(1));
        bed.said.clear();
        bed
    }
}

#[test]
fn a_pod_is_granted_its_identity_when_the_guard_has_acknowledged_it_and_the_lease_names_it() {
    let mut bed = Bed::new();
    bed.hear(Input::Wanted(wanted("a")));
    assert_eq!((bed.check("a"), bed.holder()), (Err(Shut::Unread), String::new()), "the guard comes first");
    bed.arm("a");
    assert_eq!((bed.check("a"), bed.holder()), (Ok(1), "me/uid-me/1".to_owned()));
    assert!(bed.said.contains(&Effect::Granted { uid: "a".to_owned(), epoch: 1 }), "{:?}", bed.said);
    let labels = bed.stored.as_ref().and_then(|lease| lease.metadata.labels.clone()).unwrap_or_default();
    assert_eq!(labels[wire::HOLDER_LABEL], "me");
}

#[test]
fn nothing_is_claimed_before_the_store_is_known_and_none_for_d_and_m_after_it_was_another() {
    let mut bed = Bed::new();
    bed.hear(Input::Unsure);
    bed.hear(Input::Wanted(wanted("a")));
    bed.arm("a");
    assert_eq!(bed.holder(), "");
    bed.hear(Input::Regressed);
    bed.hear(Input::Sure);
    bed.arm("a");
    assert_eq!(bed.check("a"), Err(Shut::Unread));
    bed.now = D + M - 1;
    bed.hear(Input::Tick);
    assert_eq!(bed.holder(), "");
    bed.now = D + M;
    bed.hear(Input::Tick);
    assert_eq!(bed.check("a"), Ok(1));
}

#[test]
fn a_pod_that_is_refused_waits_until_the_lease_changes_and_says_who_holds_it() {
    let mut bed = Bed::new();
    let other = bed.taken(&session("you", 4), "old");
    bed.write(other);
    bed.hear(Input::Wanted(wanted("a")));
    bed.arm("a");
    assert_eq!(bed.check("a"), Err(Shut::HeldBy("you/uid-you/4".to_owned())));
    assert_eq!(bed.holdings.waited_for().len(), 1);
    assert!(!bed.said.iter().any(|said| matches!(said, Effect::Withdrawn(_) | Effect::Superseded { .. })));
    let version = bed.version;
    bed.now = 500;
    bed.hear(Input::Tick);
    assert_eq!(bed.version, version, "nothing is asked again without reason");
    let freed = wire::freed(bed.stored.clone().expect("stored"));
    bed.shown(freed);
    assert_eq!((bed.check("a"), bed.holdings.waited_for().len()), (Ok(2), 0));
}

#[test]
fn i1_a_pod_of_the_same_name_starts_when_the_earlier_one_is_dead_and_has_given_back() {
    let mut bed = Bed::hosting("a");
    bed.hear(Input::Wanted(wanted("b")));
    bed.arm("b");
    assert_eq!(bed.check("b"), Err(Shut::HeldFor("a".to_owned())));
    bed.hear(Input::Dead("a".to_owned()));
    assert_eq!(bed.check("b"), Ok(2));
}

#[test]
fn i1_containers_of_a_pod_that_is_not_here_any_more_keep_its_name_shut_until_they_are_gone() {
    let mut bed = Bed::new();
    bed.hear(Input::Found { identity: "default.web-0".to_owned(), uid: "old".to_owned() });
    bed.hear(Input::Wanted(wanted("a")));
    bed.arm("a");
    assert_eq!(bed.check("a"), Err(Shut::Alive("old".to_owned())));
    bed.hear(Input::Dead("old".to_owned()));
    assert_eq!(bed.check("a"), Ok(1));
}

#[test]
fn a_lost_session_withdraws_what_is_fenced_and_the_next_takes_it_again_one_epoch_on() {
    let mut bed = Bed::hosting("a");
    bed.session = None;
    bed.hear(Input::Tick);
    assert!(bed.said.contains(&Effect::Withdrawn("a".to_owned())), "{:?}", bed.said);
    assert_eq!(bed.check("a"), Err(Shut::NoSession));
    bed.session = Some(session("me", 2));
    bed.hear(Input::Tick);
    bed.arm("a");
    assert_eq!((bed.check("a"), bed.holder()), (Ok(2), "me/uid-me/2".to_owned()));
    let past: BTreeSet<SessionId> = [session("me", 1), session("me", 2)].into();
    assert!(bed.said.contains(&Effect::Remember(past)), "{:?}", bed.said);
}

#[test]
fn a_pod_that_is_not_fenced_needs_no_guard_writes_no_level_and_is_not_withdrawn() {
    let mut bed = Bed::new();
    bed.hear(Input::Wanted(Wanted { fenced: false, ..wanted("a") }));
    assert_eq!(bed.check("a"), Ok(1));
    assert_eq!(bed.stored.as_ref().map(wire::level), Some(FenceLevel::None));
    bed.session = None;
    bed.hear(Input::Tick);
    assert!(!bed.said.contains(&Effect::Withdrawn("a".to_owned())), "{:?}", bed.said);
    bed.session = Some(session("me", 2));
    bed.hear(Input::Tick);
    assert_eq!(bed.check("a"), Ok(2));
}

#[test]
fn a_pod_that_ran_and_finds_another_in_its_place_is_superseded() {
    let mut bed = Bed::hosting("a");
    bed.session = None;
    bed.hear(Input::Tick);
    let other = bed.taken(&session("you", 1), "b");
    bed.write(other);
    bed.session = Some(session("me", 2));
    bed.hear(Input::Tick);
    bed.arm("a");
    let over = bed.said.iter().any(|said| matches!(said, Effect::Superseded { uid, .. } if uid == "a"));
    assert!(over, "{:?}", bed.said);
    assert_eq!(bed.check("a"), Err(Shut::HeldBy("you/uid-you/1".to_owned())));
}

#[test]
fn i1_one_that_an_operator_frees_under_its_holder_is_withdrawn_before_it_is_taken_again() {
    let mut bed = Bed::hosting("a");
    let freed = wire::freed(bed.stored.clone().expect("stored"));
    bed.shown(freed);
    assert_eq!(bed.said.first(), Some(&Effect::Withdrawn("a".to_owned())), "{:?}", bed.said);
    assert_eq!(bed.check("a"), Ok(2));
    let mut bed = Bed::hosting("a");
    bed.stored = None;
    bed.hear(Input::Left("default.web-0".to_owned()));
    assert_eq!(bed.said.first(), Some(&Effect::Withdrawn("a".to_owned())), "{:?}", bed.said);
    assert_eq!(bed.check("a"), Err(Shut::HeldBy(String::new())), "created as revoked, and waited for");
}

#[test]
fn an_agent_that_was_restarted_goes_on_with_what_it_holds_and_gives_back_what_is_not_here() {
    let before = Bed::hosting("a");
    let mut bed = Bed { stored: before.stored.clone(), version: before.version, ..Bed::new() };
    bed.hear(Input::Wanted(Wanted { may_run: true, has_run: true, ..wanted("a") }));
    bed.arm("a");
    assert_eq!((bed.check("a"), bed.version), (Ok(1), before.version), "nothing is written");
    let mut bed = Bed { stored: before.stored.clone(), version: before.version, ..Bed::new() };
    bed.hear(Input::Seen(Box::new(before.stored.clone().expect("stored"))));
    assert_eq!(bed.holder(), "");
}

#[test]
fn i1_nothing_is_given_back_while_containers_of_a_forgotten_pod_are_here() {
    let before = Bed::hosting("a");
    let mut bed = Bed { stored: before.stored.clone(), version: before.version, ..Bed::new() };
    bed.hear(Input::Found { identity: "default.web-0".to_owned(), uid: "a".to_owned() });
    bed.hear(Input::Seen(Box::new(before.stored.clone().expect("stored"))));
    assert_eq!(bed.version, before.version, "it is held on");
    bed.hear(Input::Dead("a".to_owned()));
    assert_eq!(bed.holder(), "");
}
