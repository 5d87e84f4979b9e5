//! The steward's controllers over real HTTPS, driven by real kubectl. No node is there: the test says what becomes of the
//! Pods, as an agent would.

use serde_json::{Value, json};

use crate::server::Server;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn manifest(kind: &str, name: &str, spec: &str) -> String {
    let group = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    let restart = if kind == "Job" { "restartPolicy: Never, " } else { "" };
    let selector =
        if kind == "Job" { String::new() } else { format!("selector: {{matchLabels: {{app: {name}}}}}, ") };
    format!(
        "apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}, {selector}\
         template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{{restart}containers: [{{name: c, image: 'i:1'}}]}}}}}}\n"
    )
}

impl Server {
    /// The Pods with this label that are not being deleted, by name, once there are so many.
    async fn pods(&self, app: &str, count: usize) -> Vec<Value> {
        let path = format!("{PODS}?labelSelector=app={app}");
        let alive = |list: &Value| -> Vec<Value> {
            let all = list["items"].as_array().cloned().unwrap_or_default();
            all.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect()
        };
        let list = self.wait(&path, &format!("{count} Pods"), |_, list| alive(list).len() == count).await;
        let mut pods = alive(&list);
        pods.sort_by_key(|pod| pod["metadata"]["name"].as_str().map(str::to_owned));
        pods
    }

    /// Binds a Pod and says what became of it.
    async fn play(&self, pod: &str, phase: &str) {
        let binding = json!({ "metadata": { "name": pod }, "target": { "kind": "Node", "name": "n1" } });
        let _ = self.post(&format!("{PODS}/{pod}/binding"), &binding).await;
        let now = "2026-03-01T12:00:00Z";
        let is_running = phase == "Running";
        let status = json!({ "status": {
            "phase": phase,
            "conditions": [{ "type": "Ready", "status": if is_running { "True" } else { "False" },
                "lastTransitionTime": now }],
        } });
        let path = format!("{PODS}/{pod}/status");
        let merge = "application/merge-patch+json";
        let (code, answer) = self.send(reqwest::Method::PATCH, &path, merge, status.to_string()).await;
        assert_eq!(code, 200, "{answer}");
    }

    /// Ends what is being deleted on a node, as its agent would.
    async fn reap(&self, pod: &str) {
        self.delete(&format!("{PODS}/{pod}"), "{\"gracePeriodSeconds\":0}").await;
        self.wait(&format!("{PODS}/{pod}"), "it goes, or another of its name comes", |code, now| {
            code == 404 || now["metadata"]["deletionTimestamp"].is_null()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_follows_kubectl_scale_and_goes_with_its_pods() {
    let server = Server::start_with_steward().await;
    server.apply(&manifest("ReplicaSet", "web", "replicas: 3")).await;
    for pod in server.pods("web", 3).await {
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
        assert!(pod["spec"]["nodeName"].is_null() && pod["status"]["nominatedNodeName"].is_null());
        server.play(pod["metadata"]["name"].as_str().unwrap(), "Running").await;
    }
    server
        .kubectl_ok(&["wait", "rs/web", "--for=jsonpath={.status.availableReplicas}=3", "--timeout=30s"])
        .await;
    server.kubectl_ok(&["scale", "rs", "web", "--replicas=40"]).await;
    server.pods("web", 40).await;
    server.kubectl_ok(&["scale", "rs", "web", "--replicas=3"]).await;
    let left = server.pods("web", 3).await;
    assert!(left.iter().all(|pod| pod["spec"]["nodeName"] == "n1"), "those that run stay");
    // Events are written beside the work, not before it.
    let mut events = String::new();
    for _ in 0..100 {
        events = server.kubectl_ok(&["get", "events", "--field-selector=involvedObject.name=web"]).await;
        if events.contains("Created pod: web-") && events.contains("Deleted pod: web-") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(events.contains("Created pod: web-") && events.contains("Deleted pod: web-"), "{events}");
    server.kubectl_ok(&["delete", "rs", "web", "--cascade=orphan", "--timeout=30s"]).await;
    server.apply(&manifest("ReplicaSet", "web", "replicas: 3")).await;
    let adopted = server.pods("web", 3).await;
    let names = |pods: &[Value]| pods.iter().map(|pod| pod["metadata"]["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&adopted), names(&left), "the successor adopts them");
    server.kubectl_ok(&["delete", "rs", "web", "--timeout=30s"]).await;
    server.pods("web", 0).await;
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_quota_or_admission_refuses_is_told_by_the_sets_condition() {
    let server = Server::start_with_steward().await;
    let spec = "replicas: 2";
    let rs = manifest("ReplicaSet", "bad", spec).replace("image: 'i:1'", "image: 'i:1', resources: {}");
    let rs = rs.replace("containers:", "priorityClassName: none-such, containers:");
    server.apply(&rs).await;
    let path = "/apis/apps/v1/namespaces/default/replicasets/bad";
    let failing = |_, set: &Value| {
        let all = set["status"]["conditions"].as_array();
        all.is_some_and(|all| {
            all.iter().any(|one| one["type"] == "ReplicaFailure" && one["reason"] == "FailedCreate")
        })
    };
    let set = server.wait(path, "a condition", failing).await;
    assert!(set["status"]["conditions"][0]["message"].to_string().contains("none-such"), "{set}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_is_made_in_order_rolled_out_from_the_top_and_undone() {
    let server = Server::start_with_steward().await;
    server.apply(&manifest("StatefulSet", "db", "replicas: 2, serviceName: dbs")).await;
    for ordinal in 0..2 {
        server.pods("db", ordinal + 1).await;
        server.play(&format!("db-{ordinal}"), "Running").await;
    }
    let pod = server.get(&format!("{PODS}/db-1")).await.1;
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-1"), &json!("dbs")));
    let (code, lease) =
        server.get("/apis/coordination.k8s.io/v1/namespaces/leasehold-system/leases/default.db-1").await;
    assert_eq!(code, 200, "the identity is there: {lease}");
    assert_eq!(lease["spec"]["holderIdentity"].as_str().unwrap_or_default(), "", "and held by nobody");
    server.kubectl_ok(&["rollout", "status", "sts/db", "--timeout=30s"]).await;
    for (arguments, image) in
        [(vec!["set", "image", "sts/db", "c=i:2"], "i:2"), (vec!["rollout", "undo", "sts/db"], "i:1")]
    {
        server.kubectl_ok(&arguments).await;
        for name in ["db-1", "db-0"] {
            let path = format!("{PODS}/{name}");
            let goes = |_, pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
            server.wait(&path, "the rollout reaches it", goes).await;
            server.reap(name).await;
            let is_new = |code, pod: &Value| code == 200 && pod["spec"]["containers"][0]["image"] == image;
            server.wait(&path, "it is made anew", is_new).await;
            server.play(name, "Running").await;
        }
        server.kubectl_ok(&["rollout", "status", "sts/db", "--timeout=30s"]).await;
    }
    let history = server.kubectl_ok(&["rollout", "history", "sts/db"]).await;
    assert!(history.contains('2') && history.contains('3'), "{history}");
    server.kubectl_ok(&["delete", "sts", "db", "--cascade=foreground", "--wait=false"]).await;
    for name in ["db-0", "db-1"] {
        let path = format!("{PODS}/{name}");
        server.wait(&path, "it goes", |_, pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
        server.reap(name).await;
    }
    server.wait_gone("/apis/apps/v1/namespaces/default/statefulsets/db").await;
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_completes_counts_exactly_and_leaves_nothing_when_deleted() {
    let server = Server::start_with_steward().await;
    let spec = "completions: 3, parallelism: 3, completionMode: Indexed";
    server.apply(&manifest("Job", "sum", spec)).await;
    let pods = server.pods("sum", 3).await;
    for pod in &pods {
        let index = &pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"];
        assert_eq!(index, &pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]);
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
        server.play(pod["metadata"]["name"].as_str().unwrap(), "Succeeded").await;
    }
    server.kubectl_ok(&["wait", "--for=condition=complete", "job/sum", "--timeout=30s"]).await;
    let (_, job) = server.get("/apis/batch/v1/namespaces/default/jobs/sum").await;
    assert_eq!((&job["status"]["succeeded"], &job["status"]["completedIndexes"]), (&json!(3), &json!("0-2")));
    server.apply(&manifest("Job", "bad", "backoffLimit: 0")).await;
    let pods = server.pods("bad", 1).await;
    server.play(pods[0]["metadata"]["name"].as_str().unwrap(), "Failed").await;
    server.kubectl_ok(&["wait", "--for=condition=failed", "job/bad", "--timeout=30s"]).await;
    server.apply(&manifest("Job", "gone", "parallelism: 2")).await;
    server.pods("gone", 2).await;
    for name in ["sum", "bad", "gone"] {
        server.kubectl_ok(&["delete", "job", name, "--timeout=30s"]).await;
        let path = format!("{PODS}?labelSelector=app={name}");
        let gone = |_, list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
        server.wait(&path, "its Pods go, though they held a finalizer", gone).await;
    }
    server.running.stop().await;
}
