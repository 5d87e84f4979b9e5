//! One volume: protected while it is bound, available, and reclaimed when its claim is gone.

use super::bind::unbind;
use super::{VolumeCase, claims, protect, release, tell, volume_phase};
use crate::api::storage::{LOCAL_PROVISIONER, PROVISIONED_BY, VOLUME_PROTECTION};
use crate::steward::action::{Action, Plan, Told};
use crate::steward::object::Object;
use crate::time::WallTime;

/// What is to be done for a volume.
pub fn plan(case: &VolumeCase) -> Plan {
    let mut plan = Plan::default();
    let volume = &*case.volume;
    let is_protected = volume.has_finalizer(VOLUME_PROTECTION);
    if !volume.is_ending() && !is_protected {
        plan.then(vec![protect(volume, VOLUME_PROTECTION)]);
        return plan;
    }
    if volume.is_ending() && is_protected && volume.text("/status/phase") != "Bound" {
        plan.then(vec![release(volume, VOLUME_PROTECTION)]);
        return plan;
    }
    if volume.text("/spec/claimRef/uid").is_empty() {
        plan.then(volume_phase(volume, "Available", "", case.wall).into_iter().collect());
        return plan;
    }
    match &case.claim {
        Some(claim) if claim.uid() == volume.text("/spec/claimRef/uid") => bound(case, claim, &mut plan),
        Some(_) | None => {
            let wanted = volume.text("/spec/claimRef/uid").to_owned();
            if !matches!(volume.text("/status/phase"), "Released" | "Failed") {
                plan.then(vec![Action::ConfirmGone {
                    kind: claims(),
                    namespace: volume.text("/spec/claimRef/namespace").to_owned(),
                    name: volume.text("/spec/claimRef/name").to_owned(),
                    uid: wanted,
                }]);
            }
            reclaim(volume, case.wall, &mut plan);
        }
    }
    plan
}

/// Its claim is there.
fn bound(case: &VolumeCase, claim: &Object, plan: &mut Plan) {
    let volume = &*case.volume;
    let named = claim.text("/spec/volumeName");
    if named == volume.name() {
        plan.then(volume_phase(volume, "Bound", "", case.wall).into_iter().collect());
    } else if !named.is_empty() {
        // The claim has another volume.
        if volume.annotation(PROVISIONED_BY).is_some()
            && volume.text("/spec/persistentVolumeReclaimPolicy") == "Delete"
        {
            reclaim(volume, case.wall, plan);
        } else {
            for wave in unbind(volume, case.wall) {
                plan.then(wave);
            }
        }
    }
    // Where the claim names none, its own case finishes the binding.
}

/// Its claim is gone: says so, and does with it what its policy says.
fn reclaim(volume: &Object, wall: WallTime, plan: &mut Plan) {
    let phase = volume.text("/status/phase");
    if !matches!(phase, "Released" | "Failed") {
        plan.then(volume_phase(volume, "Released", "", wall).into_iter().collect());
    }
    let made_by = volume.annotation(PROVISIONED_BY);
    match volume.text("/spec/persistentVolumeReclaimPolicy") {
        "Delete" if made_by == Some(LOCAL_PROVISIONER) => {
            plan.then(deletion(volume).into_iter().collect());
        }
        // Whoever made it takes it away.
        "Delete" if made_by.is_some() => {}
        "Delete" => fail(volume, "VolumeFailedDelete", no_deleter(volume), wall, plan),
        "Recycle" => {
            fail(
                volume,
                "VolumeFailedRecycle",
                "No recycler plugin found for the volume!".into(),
                wall,
                plan,
            );
        }
        _ => {}
    }
}

fn deletion(volume: &Object) -> Option<Action> {
    let told =
        Told { success: "", message: String::new(), failure: "VolumeFailedDelete", prefix: String::new() };
    let of = volume.target();
    (!volume.is_ending()).then_some(Action::Delete { of, propagation: None, told: Some(told) })
}

fn no_deleter(volume: &Object) -> String {
    format!(
        "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
        volume.name()
    )
}

fn fail(volume: &Object, reason: &'static str, message: String, wall: WallTime, plan: &mut Plan) {
    if volume.text("/status/phase") != "Failed" {
        plan.then(volume_phase(volume, "Failed", &message, wall).into_iter().collect());
        plan.then(vec![tell(true, reason, message)]);
    }
}
