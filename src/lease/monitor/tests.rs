//! Steps of the monitor, one rule each. What it does among many is shown by the simulator.

use super::*;

const D: u64 = 20;
const M: u64 = 3;

fn at(seconds: u64) -> Instant {
    Instant::from_boot(Duration::from_secs(seconds))
}

/// A Lease as the coordinator shows it: `holder` empty for a broken one.
fn lease(node: &str, version: u64, holder: &str) -> Box<Lease> {
    let mut lease = wire::revoked(node, Duration::from_secs(D));
    lease.metadata.uid = Some(format!("uid-{node}"));
    lease.metadata.resource_version = Some(version.to_string());
    lease.metadata.annotations = Some([(wire::SERIAL.to_owned(), version.to_string())].into());
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(holder.to_owned());
    spec.lease_transitions = Some(1);
    Box::new(lease)
}

fn session(node: &str, epoch: i32) -> SessionId {
    SessionId { node: node.to_owned(), lease_uid: format!("uid-{node}"), epoch }
}

#[derive(Debug)]
struct Bed(Monitor);

impl Bed {
    /// A monitor on node `me` that has listed these nodes, all held, at 0 s.
    fn of(nodes: &[&str]) -> Self {
        let mut bed = Self(Monitor::new("me".to_owned(), SessionConfig::default()));
        bed.hear(Input::Restarted, 0);
        for node in nodes {
            bed.hear(Input::Seen(lease(node, 1, "somebody")), 0);
        }
        bed.hear(Input::Complete, 0);
        bed
    }

    fn hear(&mut self, input: Input, seconds: u64) -> Vec<Effect> {
        self.0.handle(input, at(seconds));
        std::iter::from_fn(|| self.0.next_effect()).collect()
    }

    fn tick(&mut self, seconds: u64) -> Vec<Effect> {
        self.hear(Input::Tick, seconds)
    }

    fn seen(&mut self, node: &str, version: u64, seconds: u64) -> Vec<Effect> {
        self.hear(Input::Seen(lease(node, version, "somebody")), seconds)
    }
}

fn lost(node: &str) -> Effect {
    Effect::Report(Report::Lost { node: node.to_owned(), session: Some(session(node, 1)) })
}

fn revocation(effects: &[Effect]) -> (u64, Lease) {
    let [Effect::Revoke(number, lease)] = effects else { panic!("one revocation: {effects:?}") };
    (*number, (**lease).clone())
}

#[test]
fn a_session_expires_when_its_lease_was_seen_unchanged_for_d_and_m() {
    let mut bed = Bed::of(&["a"]);
    assert_eq!(bed.0.next_deadline(), Some(at(D + M)));
    assert_eq!(bed.tick(D + M - 1), []);
    let (number, broken) = revocation(&bed.tick(D + M));
    assert_eq!((wire::holder(&broken), wire::version(&broken), wire::epoch(&broken)), ("", "1", 1));
    assert!(!bed.0.is_over(&session("a", 1), at(D + M)), "asked, not answered");
    let written = Answer::Written(lease("a", 2, ""));
    assert_eq!(bed.hear(Input::Answer(number, written), D + M), [lost("a")]);
    assert!(bed.0.is_over(&session("a", 1), at(D + M)) && !bed.0.is_over(&session("a", 2), at(D + M)));
    assert_eq!(bed.seen("a", 2, D + M), [], "the watch shows what was written");
    assert_eq!(bed.seen("a", 3, 90), [Effect::Report(Report::Alive { node: "a".into() })]);
}

#[test]
fn a_renewal_starts_the_timer_afresh_and_what_is_no_change_does_not() {
    let mut bed = Bed::of(&["a"]);
    bed.seen("a", 2, 10);
    assert_eq!(bed.tick(D + M), []);
    bed.seen("a", 2, 12);
    assert_eq!(bed.0.next_deadline(), Some(at(10 + D + M)));
}

#[test]
fn a_revocation_that_loses_against_a_renewal_is_forgotten() {
    let mut bed = Bed::of(&["a"]);
    let (number, _) = revocation(&bed.tick(D + M));
    assert_eq!(bed.hear(Input::Answer(number, Answer::Conflict), D + M + 1), []);
    assert_eq!(bed.0.next_deadline(), Some(at(D + M + 1 + D + M)));
}

#[test]
fn a_revocation_without_answer_is_tried_again_and_may_have_been_done() {
    let mut bed = Bed::of(&["a"]);
    let (number, _) = revocation(&bed.tick(D + M));
    assert_eq!(bed.hear(Input::Answer(number, Answer::Failed), D + M + 2), []);
    let (again, _) = revocation(&bed.tick(D + M + 4));
    assert_ne!(number, again);
    assert_eq!(bed.hear(Input::Seen(lease("a", 2, "")), D + M + 5), [lost("a")]);
    assert_eq!(bed.hear(Input::Answer(again, Answer::Conflict), D + M + 6), []);
}

#[test]
fn a_session_that_was_given_up_is_not_lost() {
    let mut bed = Bed::of(&["a"]);
    let given_up = Box::new(wire::released(*lease("a", 2, "somebody")));
    assert_eq!(bed.hear(Input::Seen(given_up), 5), [Effect::Report(Report::Left { node: "a".into() })]);
    assert!(bed.0.is_over(&session("a", 1), at(5)));
    assert_eq!(bed.tick(100), []);
}

#[test]
fn every_timer_starts_afresh_when_the_watch_does() {
    let mut bed = Bed::of(&["a", "b"]);
    bed.hear(Input::Restarted, 15);
    assert_eq!(bed.tick(60), [], "nothing is concluded before the list is whole");
    bed.seen("a", 1, 60);
    bed.seen("b", 1, 60);
    bed.hear(Input::Complete, 60);
    let mut bed = Bed::of(&["a", "b"]);
    bed.hear(Input::Restarted, 15);
    bed.seen("a", 1, 16);
    bed.seen("b", 9, 16);
    bed.hear(Input::Complete, 16);
    assert_eq!(bed.0.next_deadline(), Some(at(15 + D + M)));
}

#[test]
fn a_watch_that_does_not_show_our_own_renewal_is_a_gap() {
    let mut bed = Bed::of(&["a", "me"]);
    bed.hear(Input::Renewed(2), 20);
    assert_eq!(
        bed.tick(23),
        [
            Effect::Revoke(1, Box::new(wire::broken(*lease("a", 1, "x")))),
            Effect::Revoke(2, Box::new(wire::broken(*lease("me", 1, "x"))))
        ]
    );
    let mut bed = Bed::of(&["a", "me"]);
    bed.hear(Input::Renewed(2), 17);
    assert_eq!(bed.0.next_deadline(), Some(at(21)));
    assert_eq!(bed.tick(21), [Effect::Report(Report::Gap)]);
    assert_eq!(bed.0.next_deadline(), Some(at(21 + D + M)));
    let mut bed = Bed::of(&["a", "me"]);
    bed.hear(Input::Renewed(2), 17);
    bed.seen("me", 3, 18);
    assert_eq!(bed.tick(21), [], "a later one shows it as well");
}

#[test]
fn a_lease_that_was_lost_is_neither_free_nor_revoked() {
    let mut bed = Bed::of(&["a"]);
    assert_eq!(bed.hear(Input::Gone("a".into()), 10), []);
    assert!(!bed.0.is_over(&session("a", 1), at(1000)));
    let effects = bed.tick(14);
    let [Effect::Recreate(number, created)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((wire::holder(created), wire::epoch(created)), ("", 0));
    let mut other = lease("a", 7, "");
    other.metadata.uid = Some("another".into());
    let told = Effect::Report(Report::Lost { node: "a".into(), session: None });
    assert_eq!(bed.hear(Input::Answer(*number, Answer::Written(other)), 14), [told]);
    assert!(!bed.0.is_over(&session("a", 1), at(14 + D + M - 1)));
    assert!(bed.0.is_over(&session("a", 1), at(14 + D + M)));
}

#[test]
fn a_session_whose_lease_nobody_has_seen_is_over_d_and_m_after_another_stands_there() {
    let mut bed = Bed::of(&[]);
    let effects = bed.hear(Input::Missed("a".into()), 0);
    let [Effect::Recreate(number, created)] = &effects[..] else { panic!("{effects:?}") };
    let mut made = (**created).clone();
    made.metadata.uid = Some("another".into());
    assert_eq!(bed.hear(Input::Answer(*number, Answer::Written(Box::new(made))), 1), []);
    assert!(!bed.0.is_over(&session("a", 4), at(D + M)) && bed.0.is_over(&session("a", 4), at(1 + D + M)));
}

#[test]
fn a_mass_loss_draws_the_brake_with_the_first_that_expires() {
    let mut bed = Bed::of(&["a", "b", "c", "d", "me"]);
    for (node, seconds) in [("a", 0), ("b", 1), ("c", 2), ("d", 19), ("me", 19)] {
        bed.seen(node, 2, seconds);
    }
    let effects = bed.tick(D + M);
    assert_eq!(effects[0], Effect::Report(Report::Braked(Mass { lost: 3, of: 5 })), "{effects:?}");
    assert!(bed.0.is_braked() && matches!(effects[1], Effect::Revoke(..)), "revocation goes on");
    bed.tick(D + M + 2);
    let renewed = bed.seen("a", 3, 40);
    assert!(renewed.iter().all(|effect| matches!(effect, Effect::Revoke(..))), "others' again: {renewed:?}");
    let report = |unbrake| Effect::Report(Report::Unbraked(unbrake));
    let mut timed_out = Bed::of(&["a", "b", "c"]);
    timed_out.tick(D + M);
    assert!(timed_out.tick(D + M + 600).contains(&report(Unbrake::Timeout)));
    let mut released = Bed::of(&["a", "b", "c"]);
    released.tick(D + M);
    assert_eq!(released.hear(Input::ReleaseBrake, 30)[0], report(Unbrake::Operator));
}

#[test]
fn the_brake_is_let_go_when_enough_have_returned() {
    let mut bed = Bed::of(&["a", "b", "c"]);
    let effects = bed.tick(D + M);
    for effect in effects {
        if let Effect::Revoke(number, mut broken) = effect {
            broken.metadata.resource_version = Some("5".into());
            bed.hear(Input::Answer(number, Answer::Written(broken)), D + M);
        }
    }
    assert!(bed.0.is_braked());
    bed.seen("a", 6, 40);
    assert!(bed.0.is_braked());
    let effects = bed.seen("b", 6, 41);
    assert_eq!(effects.last(), Some(&Effect::Report(Report::Unbraked(Unbrake::Returned))));
}

#[test]
fn few_or_scattered_losses_draw_no_brake() {
    let mut few = Bed::of(&["a", "b"]);
    few.tick(D + M);
    assert!(!few.0.is_braked(), "two are too few to tell");
    let mut scattered = Bed::of(&["a", "b", "c", "d"]);
    for second in 1..200 {
        let alive =
            [("a", 20), ("b", 70), ("c", 120), ("d", 500)].into_iter().filter(|(_, dies)| second < *dies);
        let effects: Vec<Effect> =
            alive.flat_map(|(node, _)| scattered.seen(node, second + 1, second)).collect();
        for effect in effects {
            if let Effect::Revoke(number, mut broken) = effect {
                broken.metadata.resource_version = Some("900".into());
                scattered.hear(Input::Answer(number, Answer::Written(broken)), second);
            }
        }
        assert!(!scattered.0.is_braked(), "{second}");
    }
}

#[test]
fn the_next_monitor_inherits_the_brake_until_enough_are_seen_to_renew() {
    let mut bed = Bed::of(&["a", "b", "c"]);
    bed.tick(D + M);
    let note = bed.0.brake(at(D + M + 61)).expect("it is drawn");
    assert_eq!(note, "of=3 minutes=9");
    let mut next = Bed(Monitor::new("me".to_owned(), SessionConfig::default()));
    next.hear(Input::Inherit(note), 100);
    next.hear(Input::Restarted, 100);
    for node in ["a", "b", "c"] {
        next.seen(node, 2, 100);
    }
    assert_eq!(next.hear(Input::Complete, 100), []);
    assert_eq!(next.seen("a", 3, 101), []);
    assert!(next.0.is_braked() && next.0.next_deadline() <= Some(at(100 + 540)));
    let unbraked = Effect::Report(Report::Unbraked(Unbrake::Returned));
    assert_eq!(next.seen("b", 3, 102), [unbraked]);
    let mut unread = Bed(Monitor::new("me".to_owned(), SessionConfig::default()));
    unread.hear(Input::Inherit("?".to_owned()), 100);
    assert!(unread.0.is_braked());
}
