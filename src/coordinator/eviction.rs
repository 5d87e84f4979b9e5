//! `pods/NAME/eviction`: a deletion that waits for the Pod's `PodDisruptionBudget`. The budget is spent and the Pod is
//! marked and deleted in one commit, so that no budget is spent for nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::kinds::{Kind, by_kind};
use crate::api::parts::EVICTION;
use crate::api::selectors::Selector;
use crate::api::status::Status;
use crate::coordinator::command::{Body, DeleteOptions, Outcome, Reply};
use crate::coordinator::metadata;
use crate::coordinator::pod::set_condition;
use crate::coordinator::state::Object;
use crate::coordinator::turn::{Turn, done};
use crate::time::WallTime;

/// Evictions that nobody has yet counted, at most, as upstream.
const DISRUPTED_PODS_MAX: usize = 2000;
/// When to ask again about a budget that is being counted anew.
const RETRY_SECONDS: i64 = 10;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

impl Turn<'_, '_> {
    pub(super) fn evict(
        &mut self,
        name: &str,
        eviction: &Value,
        options: &DeleteOptions,
    ) -> Result<Reply, Status> {
        check_eviction(name, self.namespace(), eviction)?;
        let current = self.find(name)?;
        self.check_preconditions(&current, options)?;
        let pod = current.value();
        if !needs_no_budget(&pod) {
            self.spend_budget(name, &pod)?;
        }
        self.mark_as_disrupted(&current, pod);
        // What was asked of the version held before the Pod was marked.
        let options = DeleteOptions { resource_version: None, ..options.clone() };
        self.delete(name, &options)?;
        Ok(done(
            Outcome::Created,
            Body::Status(json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
            })),
        ))
    }

    fn spend_budget(&mut self, name: &str, pod: &Value) -> Result<(), Status> {
        let budgets = self.budgets_of(pod);
        let [budget] = &budgets[..] else {
            if budgets.is_empty() {
                return Ok(());
            }
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(500, "", message));
        };
        let old = budget.value();
        if is_free_of_charge(&old, pod) {
            return Ok(());
        }
        let spent = spend(&old, name, self.now)?;
        self.put_other(budget_kind(), spent, budget.resource_version);
        Ok(())
    }

    /// The budgets whose selectors mean the Pod. An empty selector means none here.
    fn budgets_of(&self, pod: &Value) -> Vec<Arc<Object>> {
        let labels: BTreeMap<String, String> = pod["metadata"]["labels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(label, value)| (label.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        let means = |budget: &Object| {
            let selector = Selector::from_value(&budget.value()["spec"]["selector"]);
            selector.is_ok_and(|selector| !selector.is_everything() && selector.matches(&labels))
        };
        let mut budgets = self.draft.list(budget_kind(), self.namespace());
        budgets.retain(|budget| means(budget));
        budgets
    }

    fn mark_as_disrupted(&mut self, current: &Object, mut pod: Value) {
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        });
        set_condition(&mut pod, condition, self.now);
        self.put(pod, Outcome::Updated, current.resource_version);
    }
}

fn budget_kind() -> &'static Kind {
    by_kind("policy", "v1", "PodDisruptionBudget").expect("a row of the table")
}

fn check_eviction(name: &str, namespace: &str, eviction: &Value) -> Result<(), Status> {
    let said = |field: &str| eviction[field].as_str().unwrap_or_default();
    if !matches!(said("kind"), "" | "Eviction")
        || !matches!(said("apiVersion"), "" | "policy/v1" | "policy/v1beta1")
    {
        return Err(Status::bad_request(format!(
            "{} in version {:?} cannot be handled as an {}: the kinds differ",
            said("kind"),
            said("apiVersion"),
            EVICTION.kind
        )));
    }
    if metadata::text(eviction, "name") != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    if !matches!(metadata::text(eviction, "namespace"), "")
        && metadata::text(eviction, "namespace") != namespace
    {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// A Pod that does not run yet or any more is missed by nobody.
fn needs_no_budget(pod: &Value) -> bool {
    metadata::is_terminating(pod)
        || matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"))
}

/// A Pod that is not ready counts for nothing: it may go where the budget says so, or where enough others are healthy.
fn is_free_of_charge(budget: &Value, pod: &Value) -> bool {
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or_default();
    let conditions = pod["status"]["conditions"].as_array();
    let is_ready = conditions.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True");
    if is_ready {
        return false;
    }
    let has_enough = count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0;
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || has_enough
}

/// The budget with one disruption less, and the Pod among those that are about to go.
fn spend(budget: &Value, pod: &str, now: WallTime) -> Result<Value, Status> {
    let name = metadata::text(budget, "name");
    let status = &budget["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    if count("observedGeneration") < metadata::number(budget, "generation").unwrap_or_default() {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(too_many(&why, RETRY_SECONDS));
    }
    let forbidden = |why: &str| Status::forbidden("policy", "poddisruptionbudget", name, why);
    let allowed = count("disruptionsAllowed");
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > DISRUPTED_PODS_MAX) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(forbidden(why));
    }
    if allowed == 0 {
        let why = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            count("desiredHealthy"),
            count("currentHealthy")
        );
        return Err(too_many(&why, 0));
    }
    let mut spent = budget.clone();
    spent["status"]["disruptionsAllowed"] = (allowed - 1).into();
    if allowed == 1 {
        let condition = json!({
            "type": "DisruptionAllowed",
            "status": "False",
            "reason": "InsufficientPods",
            "message": "",
        });
        set_condition(&mut spent, condition, now);
    }
    if !spent["status"]["disruptedPods"].is_object() {
        spent["status"]["disruptedPods"] = json!({});
    }
    spent["status"]["disruptedPods"][pod] = now.seconds().into();
    Ok(spent)
}

/// 429
fn too_many(why: &str, retry_seconds: i64) -> Status {
    let mut details = json!({ "causes": [{ "reason": "DisruptionBudget", "message": why }] });
    if retry_seconds > 0 {
        details["retryAfterSeconds"] = retry_seconds.into();
    }
    Status { details, ..Status::new(429, "TooManyRequests", REFUSED) }
}
