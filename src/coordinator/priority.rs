//! What a Pod's priority class says of its priority, and that there is one class at most for Pods without one.

use serde_json::Value;

use crate::api::kinds::{Kind, by_kind};
use crate::api::status::Status;
use crate::coordinator::metadata;
use crate::coordinator::rules::is;
use crate::coordinator::state::Key;
use crate::coordinator::turn::Turn;

/// Of a Pod without a class, where no class is for such Pods.
const NO_PRIORITY: i64 = 0;
const DISPLACES: &str = "PreemptLowerPriority";
/// What a class decides, and a Pod cannot say otherwise.
const DECIDED: [&str; 2] = ["priority", "preemptionPolicy"];

fn classes() -> &'static Kind {
    by_kind("scheduling.k8s.io", "v1", "PriorityClass").expect("a row of the table")
}

impl Turn<'_, '_> {
    /// Gives a new Pod the priority of its class.
    pub(super) fn admit_priority(&self, pod: &mut Value) -> Result<(), Status> {
        let named = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
        let class = if named.is_empty() { self.default_class(None) } else { self.priority_class(&named) };
        if class.is_none() && !named.is_empty() {
            return Err(self.refuse_pod(pod, &format!("no PriorityClass with name {named} was found")));
        }
        let value = class.as_ref().and_then(|class| class["value"].as_i64()).unwrap_or(NO_PRIORITY);
        let policy = class.as_ref().and_then(|class| class["preemptionPolicy"].as_str()).unwrap_or(DISPLACES);
        let asked = pod["spec"]["priority"].as_i64();
        if let Some(asked) = asked.filter(|asked| *asked != value) {
            let why = format!(
                "the integer value of priority ({asked}) must not be provided in pod spec; priority admission \
                 controller computed {value} from the given PriorityClass name"
            );
            return Err(self.refuse_pod(pod, &why));
        }
        let asked = pod["spec"]["preemptionPolicy"].as_str();
        if let Some(asked) = asked.filter(|asked| *asked != policy) {
            let why = format!(
                "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission \
                 controller computed {policy} from the given PriorityClass name"
            );
            return Err(self.refuse_pod(pod, &why));
        }
        let Some(spec) = pod["spec"].as_object_mut() else { return Ok(()) };
        if let Some(class) = class.as_ref().filter(|_| named.is_empty()) {
            spec.insert("priorityClassName".into(), metadata::text(class, "name").into());
        }
        spec.insert("priority".into(), value.into());
        spec.insert("preemptionPolicy".into(), policy.into());
        Ok(())
    }

    fn refuse_pod(&self, pod: &Value, why: &str) -> Status {
        self.forbidden(metadata::text(pod, "name"), why)
    }

    fn priority_class(&self, name: &str) -> Option<Value> {
        Some(self.draft.get(&Key::new(classes(), "", name))?.value())
    }

    /// The class that Pods without one get: of several, which an upgrade may leave, the least.
    fn default_class(&self, besides: Option<&str>) -> Option<Value> {
        let all = self.draft.all(classes());
        let named = all.into_iter().filter(|class| besides != Some(&*class.key.name));
        let defaults = named.map(|class| class.value()).filter(|class| class["globalDefault"] == true);
        defaults.min_by_key(|class| class["value"].as_i64())
    }

    /// One class at most is for Pods without one.
    pub(super) fn check_default_class(&self, class: &Value) -> Result<(), Status> {
        if !is(self.kind(), "scheduling.k8s.io", "PriorityClass") || class["globalDefault"] != true {
            return Ok(());
        }
        let name = metadata::text(class, "name");
        let Some(other) = self.default_class(Some(name)) else { return Ok(()) };
        let other = metadata::text(&other, "name");
        let why = format!("PriorityClass {other} is already marked as default. Only one default can exist");
        Err(self.forbidden(name, &why))
    }
}

/// An update that is silent about what the class decided leaves it.
pub(super) fn keep(new: &mut Value, old: &Value) {
    for field in DECIDED {
        if new["spec"][field].is_null() && !old["spec"][field].is_null() {
            new["spec"][field] = old["spec"][field].clone();
        }
    }
}
