//! Steps of the shards' machine, one rule each. What many of them do together is shown by the simulator.

use super::*;
use crate::lease::session::Answer;

const D: u64 = 20;
const M: u64 = 3;
const OURS: Count = Count { shards: 2, rules: 1 };

fn at(seconds: u64) -> Instant {
    Instant::from_boot(Duration::from_secs(seconds))
}

fn wall() -> WallTime {
    WallTime::parse("2026-03-01T12:00:00Z").expect("a time")
}

fn session(node: &str, epoch: i32) -> SessionId {
    SessionId { node: node.to_owned(), lease_uid: format!("uid-{node}"), epoch }
}

/// A shard's Lease as the coordinator shows it, written by a holder that sent it at `sent`.
fn lease(shard: u32, version: u64, holder: Option<&SessionId>, sent: u64) -> Box<Lease> {
    let mut lease = wire::inert(shard);
    if let Some(session) = holder {
        let duration = Duration::from_secs(D);
        lease = wire::taken(lease, Stamp { session, count: OURS, duration, sent: at(sent), wall: wall() });
    }
    lease.metadata.uid = Some(format!("uid-{shard}"));
    lease.metadata.resource_version = Some(version.to_string());
    Box::new(lease)
}

struct Bed {
    shards: Shards,
    session: SessionId,
    deadline: u64,
}

impl Bed {
    /// An agent on `me`, the only willing node, that has listed these Leases at 0 s and holds its session until 1,000 s.
    fn of<const N: usize>(leases: [Box<Lease>; N]) -> Self {
        let shards = Shards::new("me".to_owned(), OURS, SessionConfig::default(), at(0), wall());
        let mut bed = Self { shards, session: session("me", 3), deadline: 1_000 };
        bed.hear(Input::Willing(Arc::new(["me".to_owned()].into())), 0);
        bed.hear(Input::Restarted, 0);
        for lease in leases {
            let effects = bed.hear(Input::Seen(lease), 0);
            assert_eq!(written(&effects), [], "nothing is taken before the list is whole");
        }
        bed
    }

    fn hear(&mut self, input: Input, seconds: u64) -> Vec<Effect> {
        let deadline = self.deadline;
        let held = (seconds < deadline).then_some((&self.session, at(deadline)));
        self.shards.handle(input, held, at(seconds), wall());
        std::iter::from_fn(|| self.shards.next_effect()).collect()
    }

    fn complete(&mut self) -> Vec<Effect> {
        self.hear(Input::Complete, 0)
    }

    fn may_write(&self, shard: u32, seconds: u64) -> bool {
        let held = Some((&self.session, at(self.deadline)));
        self.shards.may_write(shard, held, at(seconds), Duration::from_secs(2))
    }
}

fn written(effects: &[Effect]) -> Vec<(u64, u32, String)> {
    let of = |effect: &Effect| match effect {
        Effect::Update(number, shard, lease) => Some((*number, *shard, leases::holder(lease).to_owned())),
        Effect::Read(..) | Effect::Create(..) | Effect::Quiesce(..) | Effect::Report(_) => None,
    };
    effects.iter().filter_map(of).collect()
}

fn took(shard: u32) -> Effect {
    Effect::Report(Report::Took { shard, brake: None })
}

#[test]
fn a_free_shard_is_taken_and_held_as_long_as_the_session_is() {
    let mut bed = Bed::of([lease(0, 1, Some(&session("a", 1)), 0), lease(1, 2, None, 0)]);
    let taken = written(&bed.complete());
    let [(number, 1, holder)] = &taken[..] else { panic!("one is free: {taken:?}") };
    assert_eq!(*holder, bed.session.to_string());
    assert!(!bed.may_write(1, 0), "asked, not answered");
    let answer = Answer::Written(lease(1, 3, Some(&bed.session.clone()), 0));
    assert_eq!(bed.hear(Input::Answer(*number, answer), 1), [took(1)]);
    assert!(bed.may_write(1, 998) && !bed.may_write(1, 999) && !bed.may_write(0, 1));
    assert_eq!(bed.hear(Input::Tick, 1_000), [Effect::Report(Report::Lost { shard: 1 })]);
}

#[test]
fn the_monitors_lease_alone_is_renewed_and_free_when_seen_unchanged_for_d_and_m() {
    let mut bed = Bed::of([lease(0, 1, Some(&session("a", 1)), 0), lease(1, 2, Some(&session("a", 1)), 0)]);
    assert_eq!(bed.complete(), []);
    assert_eq!(bed.hear(Input::Tick, D + M - 1), []);
    let taken = written(&bed.hear(Input::Tick, D + M));
    let [(number, 0, _)] = &taken[..] else { panic!("the monitor's only: {taken:?}") };
    let mine = Some(bed.session.clone());
    let answer = Answer::Written(lease(0, 3, mine.as_ref(), D + M));
    assert_eq!(bed.hear(Input::Answer(*number, answer), D + M + 1), [took(0)]);
    assert!(bed.may_write(0, D + M + D - 2) && !bed.may_write(0, D + M + D - 1));
    let renewed = written(&bed.hear(Input::Tick, D + M + 4));
    assert!(matches!(renewed[..], [(_, 0, _)]), "{renewed:?}");
    assert_eq!(bed.shards.next_deadline(Some((&bed.session, at(1_000))), at(D + M + 4)), Some(at(D + M + 6)));
    let effects = bed.hear(Input::Tick, D + M + D);
    assert_eq!(effects[0], Effect::Report(Report::Lost { shard: 0 }));
}

#[test]
fn the_monitor_frees_the_shards_of_sessions_that_are_over_and_nobody_else_does() {
    let over = session("a", 1);
    let mine = Some(session("me", 3));
    for (monitor, freed) in [(mine.as_ref(), true), (Some(&over), false)] {
        let mut bed = Bed::of([lease(0, 1, monitor, 0), lease(1, 2, Some(&over), 0)]);
        bed.complete();
        let effects = written(&bed.hear(Input::Over(over.clone()), 1));
        assert_eq!(
            effects.iter().any(|(_, shard, holder)| *shard == 1 && holder.is_empty()),
            freed,
            "{effects:?}"
        );
    }
}

#[test]
fn a_drained_steward_stops_writing_then_gives_back() {
    let mut bed = Bed::of([lease(0, 1, Some(&session("a", 1)), 0), lease(1, 2, Some(&session("me", 3)), 0)]);
    assert_eq!(bed.complete(), []);
    assert!(bed.may_write(1, 1));
    let [Effect::Quiesce(number, 1)] = bed.hear(Input::Drain, 1)[..] else { panic!("it stops its writes") };
    assert!(!bed.may_write(1, 1));
    let given = written(&bed.hear(Input::Quiesced(number), 2));
    let [(number, 1, holder)] = &given[..] else { panic!("then it gives back: {given:?}") };
    assert_eq!(holder, "");
    let effects = bed.hear(Input::Answer(*number, Answer::Written(lease(1, 3, None, 0))), 2);
    assert_eq!(effects, [Effect::Report(Report::GaveBack { shard: 1 })]);
    assert_eq!(written(&bed.hear(Input::Resume, 30)).len(), 2, "and takes again");
}

#[test]
fn a_lease_that_is_absent_is_created_as_revoked_and_taken_d_and_m_later() {
    let mut bed = Bed::of([lease(0, 1, Some(&session("a", 1)), 0)]);
    let effects = bed.complete();
    let [Effect::Create(number, 1, created)] = &effects[..] else { panic!("it creates: {effects:?}") };
    assert_eq!(leases::holder(created), "");
    let mut created = created.clone();
    created.metadata.resource_version = Some("9".to_owned());
    assert_eq!(bed.hear(Input::Answer(*number, Answer::Written(created)), 1), []);
    bed.hear(Input::Seen(lease(0, 10, Some(&session("a", 1)), 0)), 10);
    assert_eq!(bed.hear(Input::Tick, D + M), []);
    let taken = written(&bed.hear(Input::Tick, 1 + D + M));
    assert!(matches!(taken[..], [(_, 1, _)]), "{taken:?}");
}

#[test]
fn who_counts_otherwise_than_a_holder_does_not_steward() {
    let mut other = lease(0, 1, Some(&session("a", 1)), 0);
    other.metadata.annotations.get_or_insert_default().insert(wire::SHARDS.to_owned(), "8".to_owned());
    let mut bed = Bed::of([]);
    let theirs = Count { shards: 8, rules: 1 };
    assert_eq!(bed.hear(Input::Seen(other.clone()), 0), [Effect::Report(Report::Differs { theirs })]);
    assert_eq!(bed.hear(Input::Complete, 0), []);
    let mut free = Box::new(wire::freed(*other));
    free.metadata.resource_version = Some("2".to_owned());
    let effects = bed.hear(Input::Seen(free), 1);
    assert!(matches!(effects[..], [Effect::Create(_, 1, _)]), "{effects:?}");
    assert_eq!(written(&bed.hear(Input::Tick, 60)), []);
    assert!(written(&bed.hear(Input::Tick, 61)).iter().any(|(_, shard, _)| *shard == 0));
}

#[test]
fn nothing_is_kept_or_taken_for_d_and_m_after_the_store_was_another() {
    let mine = session("me", 3);
    let leases = || [lease(0, 1, Some(&session("a", 1)), 0), lease(1, 2, Some(&mine), 0)];
    let mut bed = Bed::of(leases());
    bed.complete();
    assert_eq!(bed.hear(Input::Regressed, 5), [Effect::Report(Report::Lost { shard: 1 })]);
    bed.hear(Input::Restarted, 5);
    for lease in leases() {
        bed.hear(Input::Seen(lease), 5);
    }
    bed.hear(Input::Complete, 5);
    assert!(!bed.may_write(1, 6));
    assert!(bed.hear(Input::Tick, 5 + D + M).contains(&took(1)));
}

#[test]
fn what_is_older_than_what_was_seen_is_not_heard() {
    let mine = session("me", 3);
    let mut bed = Bed::of([lease(0, 1, Some(&session("a", 1)), 0), lease(1, 9, Some(&mine), 0)]);
    bed.complete();
    assert_eq!(bed.hear(Input::Seen(lease(1, 5, Some(&session("b", 1)), 0)), 1), []);
    assert!(bed.may_write(1, 1));
}

#[test]
fn the_shard_of_a_uid_never_changes() {
    for (uid, shards, shard) in [
        ("9f6f2d4e-58a7-4c3a-9f5e-1d2c3b4a5f60", 16, 11),
        ("9f6f2d4e-58a7-4c3a-9f5e-1d2c3b4a5f61", 16, 2),
        ("", 16, 11),
        ("anything", 1, 0),
        ("anything", 0, 0),
    ] {
        assert_eq!(of(uid, shards), shard, "{uid} of {shards}");
    }
}

#[test]
fn uids_spread_evenly_over_the_shards() {
    let mut counts = [0u32; 16];
    for number in 0..16_000 {
        counts[of(&format!("9f6f2d4e-58a7-4c3a-9f5e-{number:012x}"), 16) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
}
