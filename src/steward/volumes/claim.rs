//! One claim: protected, given a class, bound.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::json;

use super::bind::{bind, without_volume};
use super::{ClaimCase, Typed, Volume, protect, provision, release, tell, volumes};
use crate::api::storage::{BIND_COMPLETED, CLAIM_PROTECTION, CLASS_BETA, LOCAL_PROVISIONER, PROVISIONER};
use crate::placement::volumes::matching::{self, Kept, Wish, kept};
use crate::steward::action::{self, Action, Plan};
use crate::steward::object::Object;
use crate::time::WallTime;

/// What is to be done for a claim.
pub fn plan(case: &ClaimCase, wall: WallTime) -> Plan {
    let mut plan = Plan::default();
    let Some(claim) = &case.claim else { return plan };
    let object = &*claim.object;
    if object.is_ending() {
        let is_in_use = case.users.iter().any(|pod| !pod.text("/spec/nodeName").is_empty());
        if object.has_finalizer(CLAIM_PROTECTION) && !is_in_use {
            plan.then(vec![release(object, CLAIM_PROTECTION)]);
        }
        return plan;
    }
    if !object.has_finalizer(CLAIM_PROTECTION) {
        plan.then(vec![protect(object, CLAIM_PROTECTION)]);
        return plan;
    }
    let is_named = !object.text("/spec/volumeName").is_empty();
    match (object.annotation(BIND_COMPLETED).is_some(), is_named) {
        (true, _) => keep(case, claim, wall, &mut plan),
        (false, true) => bind_named(case, claim, wall, &mut plan),
        (false, false) => bind_any(case, claim, wall, &mut plan),
    }
    plan
}

fn go(plan: &mut Plan, waves: Vec<Vec<Action>>) {
    for wave in waves {
        plan.then(wave);
    }
}

/// A claim that was bound stays so, or has lost its volume.
fn keep(case: &ClaimCase, claim: &Typed<PersistentVolumeClaim>, wall: WallTime, plan: &mut Plan) {
    let name = claim.object.text("/spec/volumeName");
    if name.is_empty() {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lose(&claim.object, "ClaimLost", message, plan);
    }
    let Some(volume) = &case.volume else {
        if claim.object.text("/status/phase") == "Lost" {
            return;
        }
        let (kind, name) = (volumes(), name.to_owned());
        plan.then(vec![Action::ConfirmGone { kind, namespace: String::new(), name, uid: String::new() }]);
        let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return lose(&claim.object, "ClaimLost", message, plan);
    };
    let holder = volume.object.text("/spec/claimRef/uid");
    if holder.is_empty() && volume.object.is_ending() {
        return;
    }
    if holder.is_empty() || holder == claim.object.uid() {
        return go(plan, bind(claim, volume, wall));
    }
    let message = "Two claims are bound to the same volume, this one is bound incorrectly";
    lose(&claim.object, "ClaimMisbound", message, plan);
}

fn lose(claim: &Object, reason: &'static str, message: &str, plan: &mut Plan) {
    if claim.text("/status/phase") != "Lost" {
        plan.then(without_volume(claim, "Lost").into_iter().collect());
        plan.then(vec![tell(true, reason, message)]);
    }
}

/// A claim that asks for one volume by name.
fn bind_named(case: &ClaimCase, claim: &Typed<PersistentVolumeClaim>, wall: WallTime, plan: &mut Plan) {
    let why = case.volume.as_ref().and_then(|volume| refusal(claim, volume));
    match &case.volume {
        Some(volume) if why.is_none() => go(plan, bind(claim, volume, wall)),
        Some(_) | None => {
            plan.then(without_volume(&claim.object, "Pending").into_iter().collect());
            plan.then(why.into_iter().collect());
        }
    }
}

/// Why the volume that a claim asks for is not bound to it.
fn refusal(claim: &Typed<PersistentVolumeClaim>, volume: &Volume) -> Option<Action> {
    let name = volume.object.name();
    let mismatch = |why: &str| {
        let message = format!("Cannot bind to requested volume {name:?}: {why}");
        Some(tell(true, "VolumeMismatch", message))
    };
    let wish = Wish::of(&claim.typed);
    match kept(&volume.typed, &claim.typed) {
        Kept::ForAnother => {
            let message = format!("volume {name:?} already bound to a different claim.");
            Some(tell(true, "FailedBinding", message))
        }
        Kept::Free if volume.object.is_ending() => mismatch("it is being deleted"),
        Kept::Free if !wish.is_held_by(&volume.typed) => mismatch("requested PV is too small"),
        Kept::Free if matching::class_of_volume(&volume.typed) != matching::class_of_claim(&claim.typed) => {
            mismatch("storageClassName does not match")
        }
        Kept::Free if !wish.has_mode_of(&volume.typed) => mismatch("incompatible volumeMode"),
        Kept::Free if !wish.has_access_of(&volume.typed) => mismatch("incompatible accessMode"),
        Kept::ForIt | Kept::Free => None,
    }
}

/// A claim that takes any volume that suits it, or has one made.
fn bind_any(case: &ClaimCase, claim: &Typed<PersistentVolumeClaim>, wall: WallTime, plan: &mut Plan) {
    let object = &*claim.object;
    let is_classless =
        object["spec"]["storageClassName"].is_null() && object.annotation(CLASS_BETA).is_none();
    let is_kept = case.unbound.iter().any(|volume| kept(&volume.typed, &claim.typed) == Kept::ForIt);
    if let Some(class) = case.default_class.as_ref().filter(|_| is_classless && !is_kept) {
        let change = json!({ "spec": { "storageClassName": class } });
        plan.then(vec![Action::Patch { of: object.target(), part: "", change, told: None }]);
        return;
    }
    let is_delayed = case.class.as_ref().is_some_and(matching::is_delayed);
    // Before there is a consumer only what is kept for the claim may be bound.
    let open = case.unbound.iter().filter(|volume| {
        !is_delayed || case.node.is_some() || kept(&volume.typed, &claim.typed) == Kept::ForIt
    });
    let node = case.node.as_ref().filter(|_| is_delayed);
    let open: Vec<&Volume> = open.collect();
    let typed = open.iter().map(|volume| &volume.typed);
    let best = Wish::of(&claim.typed).best(typed, node, &BTreeSet::new());
    let best =
        best.and_then(|best| open.iter().find(|volume| volume.typed.metadata.name == best.metadata.name));
    if let Some(volume) = best {
        return go(plan, bind(claim, volume, wall));
    }
    plan.then(without_volume(object, "Pending").into_iter().collect());
    make(case, object, is_delayed, plan);
}

/// There is no volume for the claim: has one made, or says what it waits for.
fn make(case: &ClaimCase, claim: &Object, is_delayed: bool, plan: &mut Plan) {
    let named = case.claim.as_ref().map(|claim| matching::class_of_claim(&claim.typed)).unwrap_or_default();
    if named.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return plan.then(vec![tell(false, "FailedBinding", message)]);
    }
    let Some(class) = &case.class else {
        let message = format!("storageclass.storage.k8s.io {named:?} not found");
        return plan.then(vec![tell(true, "ProvisioningFailed", message)]);
    };
    if is_delayed && case.node.is_none() {
        return plan.then(vec![waits(case)]);
    }
    if class.provisioner != LOCAL_PROVISIONER {
        let provisioner = &class.provisioner;
        if claim.annotation(PROVISIONER) != Some(provisioner) {
            let annotations = json!({ "annotations": { PROVISIONER: provisioner } });
            plan.then(vec![action::metadata(claim, &annotations)]);
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
             system administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered."
        );
        return plan.then(vec![tell(false, "ExternalProvisioning", message)]);
    }
    let provisioned = match &case.node {
        Some(node) if is_delayed => provision::provision(claim, class, node),
        Some(_) | None => Err(format!(
            "{LOCAL_PROVISIONER} makes volumes only where volumeBindingMode is WaitForFirstConsumer"
        )),
    };
    match provisioned {
        Ok(waves) => go(plan, waves),
        Err(why) => {
            let message = format!("failed to provision volume with StorageClass {named:?}: {why}");
            plan.then(vec![tell(true, "ProvisioningFailed", message)]);
        }
    }
}

/// What a claim waits for that is bound with its first consumer.
fn waits(case: &ClaimCase) -> Action {
    let unbound: Vec<&str> =
        case.users.iter().filter(|pod| pod.text("/spec/nodeName").is_empty()).map(|pod| pod.name()).collect();
    match unbound.as_slice() {
        [] => tell(false, "WaitForFirstConsumer", "waiting for first consumer to be created before binding"),
        [pod] => tell(false, "WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => {
            let message = format!("waiting for one of pods {} to be scheduled", pods.join(","));
            tell(false, "WaitForPodScheduled", message)
        }
    }
}
