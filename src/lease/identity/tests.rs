//! Steps of a claim, and what frees an identity. What many of them do together is shown by the simulator.

use std::time::Duration;

use super::*;
use crate::lease::fence::Failover;
use crate::lease::wire as leases;

const D: u64 = 20;
const M: u64 = 3;

fn at(seconds: u64) -> Instant {
    Instant::from_boot(Duration::from_secs(seconds))
}

fn wall() -> WallTime {
    WallTime::parse("2026-03-01T12:00:00Z").expect("a time")
}

fn session(node: &str, epoch: i32) -> SessionId {
    SessionId { node: node.to_owned(), lease_uid: format!("uid-{node}"), epoch }
}

fn stored(mut lease: Lease, version: u64) -> Box<Lease> {
    lease.metadata.resource_version = Some(version.to_string());
    Box::new(lease)
}

fn held_by(name: &str, session: &SessionId, pod_uid: &str, version: u64) -> Box<Lease> {
    let stamp = wire::Stamp { session, pod_uid, level: FenceLevel::Kill, wall: wall() };
    stored(wire::taken(wire::inert(name), stamp), version)
}

struct Bed(Claim);

impl Bed {
    fn of(names: &[&str]) -> Self {
        let wanted = Wanted {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            pod_uid: "pod".to_owned(),
            past: [session("me", 2)].into(),
        };
        Self(Claim::new(wanted, SessionConfig::default(), at(0), at(0), wall()))
    }

    /// Hears it with a session that is held until 1,000 s.
    fn hear(&mut self, input: Input, seconds: u64) -> Vec<Effect> {
        let session = session("me", 3);
        self.0.handle(input, Some((&session, at(1_000))), at(seconds), wall());
        std::iter::from_fn(|| self.0.next_effect()).collect()
    }

    fn answer(&mut self, to: &[Effect], answer: Answer, seconds: u64) -> Vec<Effect> {
        let number = match to {
            [Effect::Read(number, _) | Effect::Create(number, _) | Effect::Update(number, _)] => *number,
            _ => panic!("one request: {to:?}"),
        };
        self.hear(Input::Answer(number, answer), seconds)
    }

    /// Armed; its first read.
    fn armed(&mut self) -> Vec<Effect> {
        let [Effect::Arm(number)] = self.hear(Input::Tick, 0)[..] else { panic!("it arms first") };
        self.hear(Input::Armed(number, FenceLevel::Kill), 0)
    }

    /// Holds all of them.
    fn holding(names: &[&str]) -> Self {
        let mut bed = Self::of(names);
        let mut effects = bed.armed();
        for (name, version) in names.iter().zip(10..) {
            effects = bed.answer(&effects, Answer::Found(stored(wire::inert(name), 1)), 1);
            let held = held_by(name, &session("me", 3), "pod", version);
            effects = bed.answer(&effects, Answer::Written(held), 1);
        }
        assert!(matches!(effects[..], [Effect::Report(Report::Held { .. })]), "{effects:?}");
        bed
    }
}

#[test]
fn identities_are_taken_in_the_order_of_their_names_with_the_level_that_was_armed() {
    let mut bed = Bed::of(&["b", "a"]);
    let read = bed.armed();
    assert!(matches!(&read[..], [Effect::Read(_, name)] if name == "a"), "{read:?}");
    let old = held_by("a", &session("x", 1), "old", 3);
    let effects = bed.answer(&read, Answer::Found(stored(wire::freed(*old), 4)), 1);
    let [Effect::Update(_, lease)] = &effects[..] else { panic!("it takes: {effects:?}") };
    assert_eq!((wire::session(lease), wire::pod_uid(lease)), (Some(session("me", 3)), "pod"));
    assert_eq!((leases::epoch(lease), wire::level(lease)), (2, FenceLevel::Kill));
    let taken = Answer::Written(stored((**lease).clone(), 5));
    let read = bed.answer(&effects, taken, 1);
    assert!(matches!(&read[..], [Effect::Read(_, name)] if name == "b"), "{read:?}");
}

#[test]
fn one_that_is_held_by_another_means_that_none_is_held() {
    let mut bed = Bed::of(&["a", "b"]);
    let effects = bed.armed();
    let effects = bed.answer(&effects, Answer::Found(stored(wire::inert("a"), 1)), 1);
    let effects = bed.answer(&effects, Answer::Written(held_by("a", &session("me", 3), "pod", 2)), 1);
    let other = session("x", 1);
    let effects = bed.answer(&effects, Answer::Found(held_by("b", &other, "p", 3)), 1);
    let [Effect::Update(_, lease)] = &effects[..] else { panic!("it gives back: {effects:?}") };
    assert_eq!((leases::holder(lease), lease.metadata.name.as_deref()), ("", Some("a")));
    let given = Answer::Written(stored((**lease).clone(), 4));
    let refused = Report::Refused { name: "b".to_owned(), holder: other.to_string() };
    assert_eq!(bed.answer(&effects, given, 1), [Effect::Report(refused)]);
}

#[test]
fn what_an_earlier_session_of_this_machine_holds_is_taken_and_what_anothers_does_is_not() {
    for (holder, taken) in [(session("me", 2), true), (session("me", 1), false), (session("x", 2), false)] {
        let mut bed = Bed::of(&["a"]);
        let effects = bed.armed();
        let effects = bed.answer(&effects, Answer::Found(held_by("a", &holder, "pod", 1)), 1);
        assert_eq!(matches!(effects[..], [Effect::Update(..)]), taken, "{holder}: {effects:?}");
    }
}

#[test]
fn an_absent_lease_is_created_as_revoked_and_taken_d_and_m_after_it_was_seen() {
    let mut bed = Bed::of(&["a"]);
    let effects = bed.armed();
    let effects = bed.answer(&effects, Answer::Absent { node_made: None }, 1);
    let [Effect::Create(_, lease)] = &effects[..] else { panic!("it creates: {effects:?}") };
    assert!(leases::holder(lease).is_empty() && wire::is_recreated(lease));
    let created = stored((**lease).clone(), 1);
    assert_eq!(bed.answer(&effects, Answer::Written(created.clone()), 1), []);
    assert_eq!(bed.hear(Input::Tick, D + M), []);
    let effects = bed.hear(Input::Tick, 1 + D + M);
    let effects = bed.answer(&effects, Answer::Found(created), 1 + D + M);
    assert!(matches!(effects[..], [Effect::Update(..)]), "{effects:?}");
}

#[test]
fn nothing_leaves_with_less_than_its_time_out_before_the_deadline_and_all_is_lost_with_the_session() {
    let mut bed = Bed::of(&["a"]);
    let effects = bed.armed();
    assert_eq!(bed.hear(Input::Tick, 999), [], "the read had its time; no other leaves");
    assert!(matches!(effects[..], [Effect::Read(..)]));
    let mut bed = Bed::holding(&["a"]);
    bed.0.handle(Input::Tick, None, at(1_000), wall());
    assert_eq!(bed.0.next_effect(), Some(Effect::Report(Report::Lost)));
    assert!(bed.0.is_done());
}

#[test]
fn a_write_without_an_answer_is_made_harmless_before_everything_counts_as_given_back() {
    let mut bed = Bed::of(&["a"]);
    let effects = bed.armed();
    let inert = stored(wire::inert("a"), 1);
    let effects = bed.answer(&effects, Answer::Found(inert.clone()), 1);
    assert!(matches!(effects[..], [Effect::Update(..)]), "{effects:?}");
    let read = bed.hear(Input::GiveBack, 2);
    let touch = bed.answer(&read, Answer::Found(inert.clone()), 2);
    let [Effect::Update(_, lease)] = &touch[..] else { panic!("it touches it: {touch:?}") };
    assert!(leases::holder(lease).is_empty() && **lease != *inert);
    let written = Answer::Written(stored((**lease).clone(), 2));
    let effects = bed.answer(&touch, written, 2);
    assert_eq!(effects, [Effect::Report(Report::GivenBack)]);
}

#[test]
fn after_a_restored_backup_a_holder_takes_again_what_the_store_forgot_or_loses_it() {
    let mut bed = Bed::holding(&["a"]);
    let read = bed.hear(Input::Regressed, 5);
    let again = bed.answer(&read, Answer::Found(stored(wire::inert("a"), 1)), 5);
    let [Effect::Update(_, lease)] = &again[..] else { panic!("it takes it again: {again:?}") };
    assert_eq!(leases::epoch(lease), 1, "the epoch it had");
    let written = Answer::Written(stored((**lease).clone(), 2));
    assert_eq!(bed.answer(&again, written, 5), []);
    assert_eq!(bed.hear(Input::Tick, 100), [], "confirmed");
    for answer in [None, Some(Answer::Found(held_by("a", &session("x", 1), "p", 3)))] {
        let mut bed = Bed::holding(&["a"]);
        let read = bed.hear(Input::Regressed, 5);
        let effects = match answer {
            Some(answer) => bed.answer(&read, answer, 5),
            None => bed.hear(Input::Tick, 7),
        };
        assert_eq!(effects, [Effect::Report(Report::Lost)]);
    }
}

#[test]
fn revocation_frees_an_identity_only_where_its_lease_says_a_level_that_the_workload_asks_for() {
    let revoked = Case {
        standing: Standing::Over,
        wish: Failover::Kill,
        tied: false,
        braked: false,
        out_of_service: false,
    };
    for (level, case, kept) in [
        (FenceLevel::Kill, revoked, None),
        (FenceLevel::None, revoked, Some(Kept::Level(FenceLevel::None))),
        (FenceLevel::Kill, Case { wish: Failover::Reset, ..revoked }, Some(Kept::Level(FenceLevel::Kill))),
        (FenceLevel::Reset, Case { wish: Failover::Reset, ..revoked }, None),
        (FenceLevel::Reset, Case { wish: Failover::Never, ..revoked }, Some(Kept::Never)),
        (FenceLevel::Kill, Case { standing: Standing::Alive, ..revoked }, Some(Kept::Alive)),
        (FenceLevel::Kill, Case { tied: true, ..revoked }, Some(Kept::Tied)),
        (FenceLevel::Kill, Case { braked: true, ..revoked }, Some(Kept::Braked)),
        (FenceLevel::None, Case { standing: Standing::GivenBack, braked: true, ..revoked }, None),
        (FenceLevel::None, Case { out_of_service: true, ..revoked }, None),
    ] {
        let holder = session("x", 1);
        let stamp = wire::Stamp { session: &holder, pod_uid: "p", level, wall: wall() };
        let lease = wire::taken(wire::inert("a"), stamp);
        let freed = free(&lease, case);
        assert_eq!(freed.as_ref().err(), kept.as_ref(), "{level:?} {case:?}");
        assert!(freed.is_ok_and(|lease| leases::holder(&lease).is_empty()) == kept.is_none());
    }
    assert_eq!(free(&wire::inert("a"), revoked), Err(Kept::Free));
}

#[test]
fn a_session_is_over_when_its_own_lease_says_so_and_not_when_it_is_absent() {
    let ours = session("x", 2);
    let lease = |epoch, holder: &str, kept: bool| {
        let mut lease = wire::inert("x");
        lease.metadata.uid = Some("uid-x".to_owned());
        lease.metadata.finalizers = kept.then(|| vec![leases::FINALIZER.to_owned()]);
        let spec = lease.spec.get_or_insert_default();
        (spec.lease_transitions, spec.holder_identity) = (Some(epoch), Some(holder.to_owned()));
        lease
    };
    for (lease, expected) in [
        (Some(lease(2, "x/b/1", true)), Standing::Alive),
        (Some(lease(2, "", true)), Standing::Over),
        (Some(lease(2, "", false)), Standing::GivenBack),
        (Some(lease(3, "x/b/2", true)), Standing::Over),
        (Some(lease(1, "", true)), Standing::Alive),
        (None, Standing::Alive),
    ] {
        assert_eq!(standing(&ours, lease.as_ref()), expected, "{lease:?}");
    }
    let mut another = lease(9, "", true);
    another.metadata.uid = Some("another".to_owned());
    assert_eq!(standing(&ours, Some(&another)), Standing::Alive);
}

#[test]
fn names_are_plain_where_they_fit_and_volumes_never_meet_pods() {
    assert_eq!(name("default", "web-0"), "default.web-0");
    let long = name("n", &"p".repeat(252));
    assert!(long.len() <= NAME_MAX && long != name("n", &"q".repeat(252)), "{long}");
    assert!(!volume_name("pv-1").contains('.') && volume_name("pv-1").starts_with("volume-"));
}
