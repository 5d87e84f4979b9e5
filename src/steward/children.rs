//! What controllers have in common about their children: whose they are, how they are named, and when a Pod counts.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::action::{self, Action, Told};
use super::object::Object;
use crate::api::selectors::Selector;
use crate::time::WallTime;

/// Annotation of an owner: how many numbers for names of its children have been taken. A number is taken before the
/// child is made, and never again.
pub const CHILDREN: &str = "leasehold.dev/children";

/// Letters of a generated name, and how many follow the dash.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const LETTERS: u32 = 5;
/// Longest name that is generated, as upstream's.
const NAME_BYTES_MAX: usize = 63;

/// The children an owner has, and what is to be written so that it has them.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Those that are its own, or will be.
    pub kept: Vec<Arc<Object>>,
    /// Waves before all else.
    pub waves: Vec<Vec<Action>>,
}

/// Sorts out whose children these are, as upstream: the owner keeps those that it selects, lets go of those that it
/// controls but no longer selects, and adopts those that nobody controls. An owner that is being deleted keeps what it
/// has. Before it adopts, a consistent read must say that it still is. Its children hold the `finalizer`, if there is one.
pub fn claim(
    owner: &Object,
    selector: &Selector,
    fits: impl Fn(&Object) -> bool,
    finalizer: Option<&str>,
    owned: Vec<Arc<Object>>,
    orphans: Vec<Arc<Object>>,
) -> Claimed {
    let mut claimed = Claimed::default();
    let (mut adopted, mut released) = (Vec::new(), Vec::new());
    let selects = |object: &Object| selector.matches(object.labels()) && fits(object);
    for child in owned {
        if selects(&child) {
            claimed.kept.push(child);
        } else if !owner.is_ending() {
            let rest: Vec<_> = child.owners().iter().filter(|have| have.uid != owner.uid()).collect();
            let rest = if rest.is_empty() { Value::Null } else { json!(rest) };
            let mut fields = json!({ "ownerReferences": rest });
            if let Some(finalizer) = finalizer {
                let kept = child.meta.finalizers.iter().flatten().filter(|have| *have != finalizer);
                fields["finalizers"] = json!(kept.collect::<Vec<_>>());
            }
            released.push(action::metadata(&child, &fields));
        }
    }
    for orphan in orphans {
        if owner.is_ending() || orphan.is_ending() || !selects(&orphan) {
            continue;
        }
        let mut owners = orphan.owners().to_vec();
        owners.retain(|have| have.uid != owner.uid());
        owners.push(owner.controls());
        let mut fields = json!({ "ownerReferences": owners });
        if let Some(finalizer) = finalizer.filter(|finalizer| !orphan.has_finalizer(finalizer)) {
            let mut finalizers = orphan.meta.finalizers.clone().unwrap_or_default();
            finalizers.push(finalizer.to_owned());
            fields["finalizers"] = json!(finalizers);
        }
        adopted.push(action::metadata(&orphan, &fields));
        claimed.kept.push(orphan);
    }
    if !adopted.is_empty() {
        claimed.waves.push(vec![Action::Confirm(owner.target())]);
        claimed.waves.push(adopted);
    }
    if !released.is_empty() {
        claimed.waves.push(released);
    }
    claimed
}

/// How many numbers an owner has given to children.
pub fn numbers_taken(owner: &Object) -> u64 {
    owner.annotation(CHILDREN).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Takes so many numbers more.
pub fn take_numbers(owner: &Object, count: u64) -> Action {
    let taken = numbers_taken(owner) + count;
    action::metadata(owner, &json!({ "annotations": { CHILDREN: taken.to_string() } }))
}

/// The name of an owner's child: `PREFIX-xxxxx`. No two of an owner's first 14 million numbers give the same letters.
pub fn name(prefix: &str, owner_uid: &str, number: u64) -> String {
    let prefix = generate_name(prefix);
    format!("{prefix}{}", letters(owner_uid, number))
}

/// What stands before the letters, cut so that the name is a host name.
pub fn generate_name(prefix: &str) -> String {
    let longest = NAME_BYTES_MAX - LETTERS as usize;
    let mut text = format!("{prefix}-");
    text.truncate(longest);
    text
}

fn letters(owner_uid: &str, number: u64) -> String {
    let count = 27_u64.pow(LETTERS);
    let digest = Sha256::digest(owner_uid.as_bytes());
    let part =
        |from: usize| digest.iter().skip(from).take(8).fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    // Coprime to 27, so that number → letters is one to one.
    let factor = part(0) % (count / 3) * 3 + 1;
    let mut at = ((u128::from(number) * u128::from(factor) + u128::from(part(8))) % u128::from(count)) as u64;
    let mut letters = String::new();
    for _ in 0..LETTERS {
        letters.push(char::from(ALPHABET[(at % 27) as usize]));
        at /= 27;
    }
    letters
}

/// A Pod of a template, as the owner controls it; metadata that the template has not is `name` and what `more` says.
pub fn pod(template: &Value, owner: &Object, name: &str) -> Value {
    let given = &template["metadata"];
    let mut metadata = json!({
        "name": name,
        "namespace": owner.namespace(),
        "ownerReferences": [owner.controls()],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if given[field].as_object().is_some_and(|m| !m.is_empty()) || given[field].is_array() {
            metadata[field] = given[field].clone();
        }
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

/// Creation and deletion of Pods as upstream's Pod control tells of them.
pub fn told_created(name: &str) -> Told {
    Told {
        success: "SuccessfulCreate",
        message: format!("Created pod: {name}"),
        failure: "FailedCreate",
        prefix: "Error creating: ".into(),
    }
}

/// The same of a deletion.
pub fn told_deleted(name: &str) -> Told {
    Told {
        success: "SuccessfulDelete",
        message: format!("Deleted pod: {name}"),
        failure: "FailedDelete",
        prefix: "Error deleting: ".into(),
    }
}

/// Its phase.
pub fn phase(pod: &Object) -> &str {
    pod.text("/status/phase")
}

/// Whether a Pod neither has ended nor is being deleted.
pub fn is_active(pod: &Object) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed") && !pod.is_ending()
}

/// Whether the Pod's condition `Ready` is true.
pub fn is_ready(pod: &Object) -> bool {
    ready_since(pod).is_some()
}

/// Of two active Pods, which is worth less, as upstream: unassigned, pending, not ready, ready for less time, restarted
/// more often, younger.
pub fn least_first(a: &Object, b: &Object) -> Ordering {
    let created = |pod: &Object| pod.meta.creation_timestamp.as_ref().map(|time| time.0);
    let ready = |pod: &Object| ready_since(pod).map(|since| since.0);
    unassigned_first(a, b)
        .then_with(|| ready(b).cmp(&ready(a)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| created(b).cmp(&created(a)))
        .then_with(|| a.uid().cmp(b.uid()))
}

/// The first steps of that order.
pub fn unassigned_first(a: &Object, b: &Object) -> Ordering {
    let is_assigned = |pod: &Object| !pod.text("/spec/nodeName").is_empty();
    let progress = |pod: &Object| match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    is_assigned(a)
        .cmp(&is_assigned(b))
        .then_with(|| progress(a).cmp(&progress(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
}

/// Most restarts of any of its containers.
pub fn restarts(pod: &Object) -> i64 {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    statuses.filter_map(|status| status["restartCount"].as_i64()).max().unwrap_or_default()
}

/// When it became ready; a condition without a time counts as the beginning of time.
pub fn ready_since(pod: &Object) -> Option<WallTime> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|one| one["type"] == "Ready" && one["status"] == "True")?;
    let since = ready["lastTransitionTime"].as_str().and_then(WallTime::parse);
    Some(since.unwrap_or(WallTime(jiff::Timestamp::MIN)))
}

/// Whether a Pod that is ready has been so for `min_ready`: none when it is not ready, else how long is still missing.
pub fn until_available(pod: &Object, min_ready: Duration, wall: WallTime) -> Option<Duration> {
    Some(missing(ready_since(pod)?, min_ready, wall))
}

/// How long is missing for what is ready `since` to have been so for `min_ready`; zero when it has.
pub fn missing(since: WallTime, min_ready: Duration, wall: WallTime) -> Duration {
    let ready_for = Duration::try_from(wall.0.duration_since(since.0)).unwrap_or_default();
    min_ready.saturating_sub(ready_for)
}

/// Which way a share of a whole is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the next number above.
    Up,
    /// To the next number below.
    Down,
}

/// A number, or a percentage of `whole`; none where it is neither.
pub fn scaled(told: &Value, whole: i64, rounding: Rounding) -> Option<i64> {
    if let Some(number) = told.as_i64() {
        return Some(number);
    }
    let percent: i64 = told.as_str()?.strip_suffix('%')?.parse().ok()?;
    let hundredfold = percent.saturating_mul(whole);
    Some(match rounding {
        Rounding::Up => (hundredfold + 99).div_euclid(100),
        Rounding::Down => hundredfold.div_euclid(100),
    })
}

/// `spec.minReadySeconds`.
pub fn min_ready(owner: &Object) -> Duration {
    let seconds = owner.number("/spec/minReadySeconds").unwrap_or_default();
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_host_names_and_the_same_number_gives_the_same_name() {
        let name_of = |number| name(&"x".repeat(80), "uid", number);
        assert_eq!(name_of(7), name_of(7));
        assert_eq!(name_of(7).len(), NAME_BYTES_MAX);
        assert_ne!(name("web", "a", 7), name("web", "b", 7));
        assert!(name("web", "a", 0).starts_with("web-"));
    }

    #[test]
    fn percentages_are_rounded_as_asked() {
        let table = [
            (json!(3), Some((3, 3))),
            (json!("25%"), Some((3, 2))),
            (json!("100%"), Some((10, 10))),
            (json!("0%"), Some((0, 0))),
            (json!("x"), None),
        ];
        for (told, expected) in table {
            let both = scaled(&told, 10, Rounding::Up).zip(scaled(&told, 10, Rounding::Down));
            assert_eq!(both, expected, "{told}");
        }
    }

    proptest! {
        #[test]
        fn no_two_numbers_of_an_owner_give_the_same_name(uid in "[a-f0-9]{8}", from in 0_u64..10_000_000) {
            let names: BTreeSet<String> = (from..from + 300).map(|n| letters(&uid, n)).collect();
            prop_assert_eq!(names.len(), 300);
        }
    }
}
