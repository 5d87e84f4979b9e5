//! Single steps that the scenarios (`tests/scenarios/session_*.txt`) and the fault test beside them cannot reach.

use super::*;
use crate::lease::wire;

fn at(seconds: u64) -> Instant {
    Instant::from_boot(Duration::from_secs(seconds))
}

fn wall() -> WallTime {
    WallTime::parse("2026-03-01T12:00:00Z").expect("a time")
}

fn session() -> Session {
    let claimant =
        Claimant { node: "n".to_owned(), machine_id: "m".to_owned(), boot_id: "b".to_owned(), nonce: 1 };
    Session::new(claimant, None, SessionConfig::default(), at(0), wall())
}

fn hear(session: &mut Session, input: Input, seconds: u64) -> Vec<Effect> {
    session.handle(input, at(seconds), wall());
    std::iter::from_fn(|| session.next_effect()).collect()
}

/// The Lease as the coordinator answers with it.
fn stored(lease: &Lease, version: u32) -> Box<Lease> {
    let mut lease = lease.clone();
    lease.metadata.uid = Some("uid".to_owned());
    lease.metadata.resource_version = Some(version.to_string());
    Box::new(lease)
}

/// Up to the record on disk, which takes until `kept`.
fn asked(session: &mut Session, kept: u64) -> Vec<Effect> {
    let [Effect::Read(read)] = hear(session, Input::Tick, 0)[..] else { panic!("it looks first") };
    let absent = Answer::Absent { node_made: Some(at(0)) };
    let [Effect::Fence(fence)] = hear(session, Input::Answer(read, absent), 0)[..] else {
        panic!("it fences")
    };
    let effects = hear(session, Input::Fenced(fence), 0);
    let [Effect::Persist(record, _)] = &effects[..] else { panic!("it persists: {effects:?}") };
    hear(session, Input::Persisted(*record), kept)
}

/// Held since 0 s, and the renewal that left at 4 s: its number and its Lease.
fn renewing(session: &mut Session) -> (u64, Box<Lease>) {
    let effects = asked(session, 0);
    let [Effect::Create(create, lease)] = &effects[..] else { panic!("it creates: {effects:?}") };
    let written = Answer::Written(stored(lease, 1));
    let effects = hear(session, Input::Answer(*create, written), 1);
    let [Effect::Persist(record, _)] = &effects[..] else { panic!("it persists: {effects:?}") };
    hear(session, Input::Persisted(*record), 1);
    let mut effects = hear(session, Input::Tick, 4);
    let Effect::Update(number, lease) = effects.remove(0) else { panic!("it renews") };
    (number, lease)
}

#[test]
fn a_node_that_was_never_here_waits_after_all_when_it_was_slow() {
    assert!(matches!(asked(&mut session(), 3)[..], [Effect::Create(..)]));
    let late = asked(&mut session(), 4);
    assert!(late.iter().any(|effect| matches!(effect, Effect::Read(_))), "{late:?}");
    assert!(!late.iter().any(|effect| matches!(effect, Effect::Create(..))), "{late:?}");
}

#[test]
fn an_acknowledgement_moves_the_deadline_to_one_duration_after_its_sending() {
    let mut session = session();
    let (number, lease) = renewing(&mut session);
    assert_eq!(session.deadline(at(4)), Some(at(20)));
    hear(&mut session, Input::Answer(number, Answer::Written(stored(&lease, 2))), 5);
    assert_eq!(session.deadline(at(5)), Some(at(24)));
    assert!(session.may_claim(at(22), Duration::from_secs(2)));
    assert!(!session.may_claim(at(23), Duration::from_secs(2)));
    assert_eq!(session.deadline(at(24)), None);
}

#[test]
fn an_acknowledgement_after_the_deadline_revives_nothing() {
    let mut session = session();
    let (number, lease) = renewing(&mut session);
    let effects = hear(&mut session, Input::Answer(number, Answer::Written(stored(&lease, 2))), 21);
    assert!(
        matches!(effects[..], [Effect::CloseConnection, Effect::Fence(_), Effect::Report(_)]),
        "{effects:?}"
    );
    assert_eq!(session.deadline(at(21)), None);
}

#[test]
fn an_answer_with_the_old_resource_version_acknowledges_nothing() {
    let mut session = session();
    let (number, lease) = renewing(&mut session);
    hear(&mut session, Input::Answer(number, Answer::Written(stored(&lease, 1))), 5);
    assert_eq!(session.deadline(at(5)), Some(at(20)));
}

#[test]
fn a_renewal_keeps_what_others_wrote_into_the_lease_and_the_duration_of_the_session() {
    let mut session = session();
    let (number, lease) = renewing(&mut session);
    let mut edited = stored(&lease, 2);
    edited.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
    edited.spec.get_or_insert_default().lease_duration_seconds = Some(5);
    hear(&mut session, Input::Answer(number, Answer::Written(edited)), 5);
    let effects = hear(&mut session, Input::Tick, 8);
    let [Effect::Update(_, renewed)] = &effects[..] else { panic!("it renews: {effects:?}") };
    assert_eq!(renewed.metadata.labels.as_ref().map(std::collections::BTreeMap::len), Some(1));
    assert_eq!(wire::duration(renewed), Some(Duration::from_secs(20)));
    assert_eq!(wire::annotation(renewed, wire::SERIAL), Some("3"));
}

#[test]
fn a_record_is_asked_for_until_it_is_kept() {
    let mut session = session();
    let effects = asked(&mut session, 0);
    let [Effect::Create(create, lease)] = &effects[..] else { panic!("it creates: {effects:?}") };
    let effects = hear(&mut session, Input::Answer(*create, Answer::Written(stored(lease, 1))), 1);
    let [Effect::Persist(record, _)] = effects[..] else { panic!("it persists: {effects:?}") };
    let effects = hear(&mut session, Input::Tick, 5);
    assert!(
        matches!(effects[..], [Effect::Persist(again, _), Effect::Update(..)] if again == record),
        "{effects:?}"
    );
    assert_eq!(session.deadline(at(5)), None);
    hear(&mut session, Input::Persisted(record), 5);
    assert_eq!(session.deadline(at(5)), Some(at(20)));
}

#[test]
fn a_record_reads_as_it_was_written() {
    let record = Record {
        holder: "n/b/1-1".to_owned(),
        machine_id: "m".to_owned(),
        boot_id: "b".to_owned(),
        duration_seconds: 20,
        follows: Some("n/a/1-1".to_owned()),
        taken: Taken::As { lease_uid: "u".to_owned(), epoch: 3 },
    };
    let text = serde_json::to_string(&record).expect("JSON");
    assert_eq!(serde_json::from_str::<Record>(&text).expect("a record"), record);
}

#[test]
fn a_session_is_read_as_it_is_written_and_nothing_else_is_one() {
    let session = SessionId { node: "n-1.example".to_owned(), lease_uid: "u-1".to_owned(), epoch: 12 };
    assert_eq!(session.to_string().parse(), Ok(session));
    for text in
        ["", "n", "n/u", "n/u/1/2", "/u/1", "n//1", "n/u/", "n/u/x", "n/u/-1", "n/u/+1", "n/u/01", "n/u/1 "]
    {
        let error = text.parse::<SessionId>().expect_err(text).to_string();
        assert!(error.contains("expected NODE/LEASE-UID/EPOCH"), "{error}");
    }
}
