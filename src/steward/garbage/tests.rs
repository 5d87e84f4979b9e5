use super::*;
use crate::steward::object::id;

fn object(kind: &str, uid: &str, more: &Value) -> Arc<Object> {
    let mut metadata = json!({ "name": uid, "namespace": "default", "uid": uid, "resourceVersion": "7" });
    for (field, value) in more.as_object().expect("fields") {
        metadata[field] = value.clone();
    }
    Arc::new(Object::read(id("", kind), json!({ "metadata": metadata })).expect("an object"))
}

fn owned_by(owners: &[(&str, bool)]) -> Value {
    let reference = |(uid, blocks): &(&str, bool)| json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": blocks });
    json!({ "ownerReferences": owners.iter().map(reference).collect::<Vec<_>>() })
}

fn planned(object: &Object, standings: &[Standing], dependants: Vec<Arc<Object>>) -> String {
    let owners = object.owners().iter().cloned().zip(standings.iter().copied()).collect();
    let plan = plan(&Case { object, owners, dependants });
    let waves = plan.waves.iter().map(|wave| wave.iter().map(told).collect::<Vec<_>>().join(" + "));
    waves.collect::<Vec<_>>().join(", then ")
}

fn told(action: &Action) -> String {
    match action {
        Action::Delete { of, propagation: Some(how), .. } => format!("delete {} {how:?}", of.name),
        Action::Patch { of, change, .. } => match change["metadata"]["ownerReferences"].as_array() {
            Some(kept) => {
                let kept: Vec<_> = kept.iter().filter_map(|owner| owner["uid"].as_str()).collect();
                format!("{} keeps owners {kept:?}", of.name)
            }
            None if change["metadata"].get("ownerReferences").is_some() => format!("{} is free", of.name),
            None => format!("{} keeps finalizers {}", of.name, change["metadata"]["finalizers"]),
        },
        Action::ConfirmGone { name, .. } => format!("confirm that {name} is gone"),
        Action::LookUp { owners, .. } => format!("look up {}", owners.len()),
        Action::Tell { reason, .. } => (*reason).to_owned(),
        Action::Create { .. }
        | Action::Delete { .. }
        | Action::Remove(_)
        | Action::Confirm(_)
        | Action::Witness(_)
        | Action::ConfirmLost(_)
        | Action::EmptyNamespace(_)
        | Action::TellOf { .. } => format!("{action:?}"),
    }
}

#[test]
fn what_has_owners_goes_with_the_last_of_them() {
    use Standing::{Absent, Elsewhere, Solid, Unknown, Unresolvable, Waiting};
    let table: [(&[Standing], &str); 10] = [
        (&[Solid, Solid], ""),
        (&[Absent, Absent], "delete x Background"),
        (&[Solid, Absent], "x keeps owners [\"0\"]"),
        (&[Waiting, Solid], "x keeps owners [\"1\"]"),
        (&[Waiting, Absent], "delete x Background"),
        (&[Unknown, Absent], "look up 1"),
        (&[Unknown, Unknown], "look up 2"),
        (&[Unresolvable, Absent], ""),
        (&[Elsewhere, Absent], "OwnerRefInvalidNamespace, then delete x Background"),
        (&[Elsewhere, Solid], "OwnerRefInvalidNamespace, then x keeps owners [\"1\"]"),
    ];
    for (standings, expected) in table {
        let x = object("ConfigMap", "x", &owned_by(&[("0", true), ("1", true)]));
        assert_eq!(planned(&x, standings, Vec::new()), expected, "{standings:?}");
    }
}

#[test]
fn a_dependant_of_a_waiting_owner_that_has_dependants_itself_waits_for_these_too() {
    let x = object("ConfigMap", "x", &owned_by(&[("0", true)]));
    let below = object("Secret", "y", &owned_by(&[("x", true)]));
    assert_eq!(planned(&x, &[Standing::Waiting], vec![below]), "delete x Foreground");
    let mut circle = owned_by(&[("x", true)]);
    circle["finalizers"] = json!([FOREGROUND]);
    circle["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let circle = object("Secret", "y", &circle);
    assert_eq!(
        planned(&x, &[Standing::Waiting], vec![circle]),
        "x keeps owners [\"0\"], then delete x Foreground",
        "no longer blocking"
    );
}

#[test]
fn an_owner_goes_when_its_dependants_are_orphaned_or_gone() {
    let ending = |finalizers: &[&str]| {
        let more = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers });
        object("ConfigMap", "x", &more)
    };
    let blocking = || object("Pod", "b", &owned_by(&[("x", true)]));
    let other = || object("Pod", "o", &owned_by(&[("x", false), ("z", true)]));
    let table = [
        (ending(&["k", "orphan"]), vec![], "x keeps finalizers [\"k\"]"),
        (
            ending(&["orphan"]),
            vec![blocking(), other()],
            "b is free + o keeps owners [\"z\"], then x keeps finalizers []",
        ),
        (ending(&["k", FOREGROUND]), vec![blocking(), other()], ""),
        (ending(&["k", FOREGROUND]), vec![other()], "x keeps finalizers [\"k\"]"),
        (ending(&["k"]), vec![blocking()], ""),
    ];
    for (owner, dependants, expected) in table {
        assert_eq!(planned(&owner, &[], dependants), expected);
    }
}
