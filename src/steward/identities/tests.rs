//! What is concluded from what was read. Whole stories are in `tests/scenarios/steward_identities.txt`.

use serde_json::Value;

use super::*;
use crate::time::Instant;

fn at(seconds: u64) -> Instant {
    Instant::from_boot(Duration::from_secs(seconds))
}

fn session(epoch: i32) -> SessionId {
    SessionId { node: "n1".to_owned(), lease_uid: "u".to_owned(), epoch }
}

fn lease(uid: &str, epoch: i32, holder: &str) -> Box<Lease> {
    let value = json!({
        "metadata": { "name": "n1", "uid": uid, "finalizers": ["leasehold.dev/session"] },
        "spec": { "holderIdentity": holder, "leaseTransitions": epoch, "leaseDurationSeconds": 20 },
    });
    serde_json::from_value(value).expect("a Lease")
}

fn seen(lease: Box<Lease>) -> Witness {
    Witness { node: "n1".to_owned(), exists: true, lease: Some(lease) }
}

#[test]
fn that_a_session_is_over_stays_true_and_that_it_lives_is_asked_for_again() {
    let mut witnesses = Witnesses::default();
    assert_eq!(witnesses.standing(&session(2), at(0)), None);
    witnesses.note(seen(lease("u", 2, "agent")), at(0));
    assert_eq!(witnesses.standing(&session(2), at(4)), Some(Standing::Alive));
    assert_eq!(witnesses.standing(&session(2), at(5)), None);
    assert_eq!(witnesses.standing(&session(1), at(500)), Some(Standing::Over), "another was taken after it");
    witnesses.note(seen(lease("u", 2, "")), at(6));
    assert_eq!(witnesses.standing(&session(2), at(500)), Some(Standing::Over));
    assert_eq!((witnesses.is_empty("n1", at(6)), witnesses.is_empty("n1", at(11))), (Some(true), None));
}

#[test]
fn an_absent_lease_ends_no_session_and_one_in_its_place_does_after_a_while() {
    let mut witnesses = Witnesses::default();
    witnesses.note(Witness { node: "n1".to_owned(), exists: true, lease: None }, at(0));
    assert_eq!(witnesses.standing(&session(2), at(4)), Some(Standing::Alive));
    assert!(witnesses.lacks_lease("n1", at(4)));
    assert_eq!(witnesses.is_empty("n1", at(4)), Some(false), "nor does it say that nobody holds one");
    witnesses.note(seen(lease("another", 0, "")), at(5));
    witnesses.note(seen(lease("another", 0, "")), at(44));
    for (second, standing, empty) in [(44, Standing::Alive, false), (45, Standing::Over, true)] {
        assert_eq!(witnesses.standing(&session(2), at(second)), Some(standing));
        assert_eq!(witnesses.is_empty("n1", at(second)), Some(empty));
    }
}

#[test]
fn one_asks_for_all_and_again_if_no_answer_comes() {
    let mut witnesses = Witnesses::default();
    let asked = [0, 1, 2, 3].map(|second| witnesses.ask("n1", at(second)));
    assert_eq!(asked, [true, false, true, false]);
}

fn object(kind: (&str, &str), name: &str, more: &Value) -> Object {
    let mut raw =
        json!({ "metadata": { "name": name, "namespace": "default", "uid": name, "resourceVersion": "7" } });
    json_patch::merge(&mut raw, more);
    Object::read(id(kind.0, kind.1), raw).expect("an object")
}

fn held(pod_uid: &str, level: &str) -> Object {
    object(
        ("coordination.k8s.io", "Lease"),
        "default.db-0",
        &json!({
            "metadata": { "annotations": { "leasehold.dev/pod-uid": pod_uid, "leasehold.dev/fence-level": level } },
            "spec": { "holderIdentity": "n1/u/2", "leaseTransitions": 1 },
        }),
    )
}

fn deeds(plan: &Plan) -> Vec<String> {
    let deed = |action: &Action| match action {
        Action::Patch { of, change, .. } => format!("{} {change}", of.name),
        Action::Remove(of) => format!("remove {}", of.name),
        Action::TellOf { reason, .. } => (*reason).to_owned(),
        Action::Witness(node) => format!("look at {node}"),
        Action::Create { .. }
        | Action::Delete { .. }
        | Action::Confirm(_)
        | Action::LookUp { .. }
        | Action::ConfirmLost(_)
        | Action::EmptyNamespace(_)
        | Action::ConfirmGone { .. }
        | Action::Tell { .. } => format!("{action:?}"),
    };
    plan.waves.iter().flatten().map(deed).collect()
}

fn judge(lease: &Object, pod: Option<Object>, seat: Seat, tied: bool, braked: bool) -> Vec<String> {
    let typed = serde_json::from_value(lease.whole()).expect("a Lease");
    let pod = pod.map(Arc::new);
    deeds(&plan(&Case { object: lease, lease: typed, pod, tied, braked, seat, told: None }).0)
}

fn asks() -> Asks {
    Asks { actions: vec![Action::Witness("n1".to_owned())], again: None }
}

#[test]
fn an_identity_is_freed_only_when_its_session_is_over_or_people_vouch_for_its_node() {
    type Row = (Option<Standing>, bool, Fate, &'static str, (bool, bool), &'static [&'static str]);
    let freed = "default.db-0 {\"spec\":{\"holderIdentity\":\"\"}}";
    let lost = Fate::Lost { out_of_service: false };
    let vouched = Fate::Lost { out_of_service: true };
    let table: [Row; 11] = [
        (None, false, lost, "kill", (false, false), &["look at n1"]),
        (Some(Standing::Alive), true, lost, "kill", (false, false), &["look at n1"]),
        (Some(Standing::Over), false, lost, "kill", (false, false), &["free", "IdentityFreed"]),
        (Some(Standing::Over), false, Fate::Gone, "kill", (false, false), &["free", "IdentityFreed"]),
        (Some(Standing::Over), false, lost, "none", (false, false), &["IdentityKept"]),
        (Some(Standing::Over), false, Fate::Gone, "none", (false, false), &["IdentityKept"]),
        (Some(Standing::Over), false, lost, "kill", (true, false), &["IdentityKept"]),
        (Some(Standing::Over), false, lost, "kill", (false, true), &["IdentityKept"]),
        (Some(Standing::GivenBack), false, lost, "none", (false, true), &["free", "IdentityFreed"]),
        (Some(Standing::Over), false, vouched, "none", (true, true), &["free", "IdentityFreed"]),
        // Its session is renewed: whoever vouched for its being off erred.
        (Some(Standing::Alive), true, vouched, "kill", (false, false), &["look at n1"]),
    ];
    for (standing, is_held, fate, level, (tied, braked), expected) in table {
        let seat = Seat::Doubtful { session: session(2), standing, is_held, fate, asks: asks() };
        let pod = object(("", "Pod"), "db-0", &json!({}));
        let found = judge(&held("db-0", level), Some(pod), seat, tied, braked);
        let expected: Vec<&str> =
            expected.iter().map(|deed| if *deed == "free" { freed } else { *deed }).collect();
        assert_eq!(found, expected, "{standing:?} {fate:?} {level} {tied} {braked}");
    }
}

#[test]
fn a_pod_is_removed_when_nobody_holds_its_identity_nor_its_nodes_session() {
    type Row<'a> = (Option<bool>, &'a str, &'a Value, bool, bool, &'a [&'a str]);
    let never = json!({ "metadata": { "annotations": { "leasehold.dev/failover": "never" } } });
    let lost = Fate::Lost { out_of_service: false };
    let gone: &[&str] = &["remove db-0", "DeadPodRemoved"];
    let plain = json!({});
    let table: [Row<'_>; 7] = [
        (None, "db-0", &plain, false, false, &["look at n1"]),
        (Some(false), "db-0", &plain, false, false, &["look at n1"]),
        (Some(true), "db-0", &plain, false, false, gone),
        (Some(true), "before", &plain, false, false, gone),
        (Some(true), "before", &never, false, false, &[]),
        // It was held, and an operator has released it.
        (Some(true), "db-0", &never, false, false, gone),
        (Some(true), "db-0", &plain, false, true, &[]),
    ];
    for (empty, pod_uid, more, tied, braked, expected) in table {
        let seat = Seat::Left { node: "n1".to_owned(), empty, fate: lost, asks: asks() };
        let mut lease = held(pod_uid, "kill");
        lease.data["spec"]["holderIdentity"] = "".into();
        let found = judge(&lease, Some(object(("", "Pod"), "db-0", more)), seat.clone(), tied, braked);
        assert_eq!(found, expected, "{empty:?} {pod_uid} {more}");
        lease.meta.annotations.get_or_insert_default().insert(wire::RECREATED.to_owned(), "true".to_owned());
        let found = judge(&lease, Some(object(("", "Pod"), "db-0", more)), seat, tied, braked);
        assert_eq!(found, Vec::<String>::new(), "whoever held it before may live");
    }
}
