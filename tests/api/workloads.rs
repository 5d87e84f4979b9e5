//! The workload kinds and the parts of objects: raw, and as people use them with kubectl.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::Server;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: &str = "application/merge-patch+json";

fn template() -> Value {
    json!({
        "metadata": { "labels": { "app": "a" } },
        "spec": { "containers": [{ "name": "main", "image": "example.org/a:1" }] },
    })
}

fn deployment(name: &str) -> Value {
    let selector = json!({ "matchLabels": { "app": "a" } });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": { "replicas": 2, "selector": selector, "template": template() },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scale_is_read_and_written_by_its_own_path() {
    let server = Server::start().await;
    server.post(DEPLOYMENTS, &deployment("a")).await;
    let path = format!("{DEPLOYMENTS}/a/scale");
    let (code, scale) = server.get(&path).await;
    assert_eq!(
        (code, &scale["kind"], &scale["apiVersion"]),
        (200, &json!("Scale"), &json!("autoscaling/v1"))
    );
    assert_eq!(scale["spec"], json!({ "replicas": 2 }));
    assert_eq!(scale["status"], json!({ "replicas": 0, "selector": "app=a" }));
    let (code, patched) = server.send(Method::PATCH, &path, MERGE, r#"{"spec":{"replicas":4}}"#).await;
    assert_eq!((code, &patched["spec"]["replicas"]), (200, &json!(4)), "{patched}");
    assert_eq!(patched["kind"], "Scale");
    let (code, refused) = server.put(&path, &scale).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")), "it was read before the patch");
    let (_, whole) = server.get(&format!("{DEPLOYMENTS}/a")).await;
    assert_eq!((&whole["spec"]["replicas"], &whole["metadata"]["generation"]), (&json!(4), &json!(2)));
    let (code, dry) =
        server.send(Method::PATCH, &format!("{path}?dryRun=All"), MERGE, r#"{"spec":{"replicas":9}}"#).await;
    assert_eq!((code, &dry["spec"]["replicas"]), (200, &json!(9)));
    assert_eq!(server.get(&path).await.1["spec"]["replicas"], 4);
    assert_eq!(server.post(&path, &patched).await.0, 405);
    assert_eq!(server.get(&format!("{DEPLOYMENTS}/a/eviction")).await.0, 404);
    assert_eq!(
        server.get(&format!("{DEPLOYMENTS}/b/scale")).await.1["message"],
        "deployments.apps \"b\" not found"
    );
    server.running.stop().await;
}

async fn running_pod(server: &Server, name: &str) {
    let mut pod =
        json!({ "metadata": { "name": name, "labels": { "app": "a" } }, "spec": template()["spec"] });
    pod["spec"]["nodeName"] = "n1".into();
    assert_eq!(server.post(PODS, &pod).await.0, 201);
    let status = json!({ "status": {
        "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }],
    } });
    let path = format!("{PODS}/{name}/status");
    assert_eq!(server.send(Method::PATCH, &path, MERGE, status.to_string()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_asks_the_budget() {
    let server = Server::start().await;
    for name in ["p", "q"] {
        running_pod(&server, name).await;
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "metadata": { "name": "b" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "a" } } },
    });
    assert_eq!(server.post(budgets, &budget).await.0, 201);
    let eviction = |name: &str| json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name, "namespace": "default" } });
    let (code, refused) = server.post(&format!("{PODS}/p/eviction"), &eviction("p")).await;
    assert_eq!((code, &refused["reason"]), (429, &json!("TooManyRequests")));
    assert_eq!(refused["details"]["causes"][0]["reason"], "DisruptionBudget");
    assert_eq!(refused["details"]["retryAfterSeconds"], 10);
    let status = json!({ "status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
    } });
    server.send(Method::PATCH, &format!("{budgets}/b/status"), MERGE, status.to_string()).await;
    let (code, done) = server.post(&format!("{PODS}/p/eviction?dryRun=All"), &eviction("p")).await;
    assert_eq!((code, &done["status"]), (201, &json!("Success")), "{done}");
    let mut dry = eviction("p");
    dry["deleteOptions"] = json!({ "dryRun": ["All"] });
    assert_eq!(server.post(&format!("{PODS}/p/eviction"), &dry).await.0, 201);
    assert!(server.get(&format!("{PODS}/p")).await.1["metadata"]["deletionTimestamp"].is_null());
    let (code, done) = server.post(&format!("{PODS}/p/eviction"), &eviction("p")).await;
    assert_eq!((code, &done["status"]), (201, &json!("Success")), "{done}");
    let (_, pod) = server.get(&format!("{PODS}/p")).await;
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(pod["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");
    let (code, refused) = server.post(&format!("{PODS}/q/eviction"), &eviction("q")).await;
    assert_eq!(code, 429, "{refused}");
    assert_eq!(
        refused["details"]["causes"][0]["message"],
        "The disruption budget b needs 1 healthy pods and has 2 currently"
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_names_the_parts_with_what_goes_over_the_wire() {
    let server = Server::start().await;
    let part = |list: &Value, name: &str| {
        let resources = list["resources"].as_array().unwrap();
        let found =
            resources.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{name}: {list}"));
        format!("{}/{} {} {}", found["group"], found["version"], found["kind"], found["verbs"])
    };
    let (_, core) = server.get("/api/v1").await;
    let (_, apps) = server.get("/apis/apps/v1").await;
    let writes = r#"["get","patch","update"]"#;
    for (list, name, expected) in [
        (&apps, "deployments/scale", format!(r#""autoscaling"/"v1" "Scale" {writes}"#)),
        (&apps, "replicasets/scale", format!(r#""autoscaling"/"v1" "Scale" {writes}"#)),
        (&apps, "statefulsets/scale", format!(r#""autoscaling"/"v1" "Scale" {writes}"#)),
        (&apps, "statefulsets/status", format!(r#"null/null "StatefulSet" {writes}"#)),
        (&core, "replicationcontrollers/scale", format!(r#""autoscaling"/"v1" "Scale" {writes}"#)),
        (&core, "pods/eviction", r#""policy"/"v1" "Eviction" ["create"]"#.into()),
        (&core, "pods/binding", r#"null/null "Binding" ["create"]"#.into()),
        (&core, "pods/resize", format!(r#"null/null "Pod" {writes}"#)),
        (&core, "pods/ephemeralcontainers", format!(r#"null/null "Pod" {writes}"#)),
        (&core, "namespaces/finalize", r#"null/null "Namespace" ["update"]"#.into()),
    ] {
        assert_eq!(part(list, name), expected, "{name}");
    }
    server.running.stop().await;
}

async fn json_path(server: &Server, what: &str, path: &str) -> String {
    server.kubectl_ok(&["get", what, "-o", &format!("jsonpath={path}")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_made_scaled_and_changed_with_kubectl() {
    let server = Server::start().await;
    let made = ["create", "deployment", "web", "--image=example.org/web:1", "--replicas=2"];
    assert_eq!(server.kubectl_ok(&made).await, "deployment.apps/web created\n");
    assert_eq!(
        server.kubectl_ok(&["scale", "deployment/web", "--replicas=3"]).await,
        "deployment.apps/web scaled\n"
    );
    assert_eq!(
        server.kubectl_ok(&["scale", "deploy/web", "--current-replicas=3", "--replicas=4"]).await,
        "deployment.apps/web scaled\n"
    );
    for wrong in [["--current-replicas=3"], ["--resource-version=1"]] {
        let refused = server.kubectl(&["scale", "deploy/web", wrong[0], "--replicas=5"]).await;
        assert!(!refused.status.success(), "{wrong:?}");
    }
    assert_eq!(json_path(&server, "deploy/web", "{.spec.replicas}").await, "4");
    server.kubectl_ok(&["set", "image", "deployment/web", "web=example.org/web:2"]).await;
    assert_eq!(
        server.kubectl_ok(&["rollout", "pause", "deployment/web"]).await,
        "deployment.apps/web paused\n"
    );
    assert_eq!(json_path(&server, "deploy/web", "{.spec.paused}").await, "true");
    assert_eq!(
        server.kubectl_ok(&["rollout", "resume", "deployment/web"]).await,
        "deployment.apps/web resumed\n"
    );
    assert_eq!(
        server.kubectl_ok(&["rollout", "restart", "deployment/web"]).await,
        "deployment.apps/web restarted\n"
    );
    let path = "{.spec.template.spec.containers[0].image} {.metadata.generation}";
    assert_eq!(json_path(&server, "deploy/web", path).await, "example.org/web:2 7");
    let shown = server.kubectl_ok(&["get", "deploy", "web", "--subresource=scale"]).await;
    let words: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(words[..7], ["NAME", "DESIRED", "AVAILABLE", "AGE", "web", "4", "0"], "{shown}");
    let selector = r#"--patch={"spec":{"selector":{"matchLabels":{"app":"other"}}}}"#;
    let refused = server.kubectl(&["patch", "deployment", "web", selector]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.starts_with("The Deployment \"web\" is invalid: "), "{told}");
    assert!(told.contains("field is immutable"), "{told}");
    let described = server.kubectl_ok(&["describe", "deployment", "web"]).await;
    assert!(described.contains("StrategyType:           RollingUpdate"), "{described}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_and_cron_jobs_are_made_with_kubectl() {
    let server = Server::start().await;
    let image = "--image=example.org/a:1";
    assert_eq!(
        server.kubectl_ok(&["create", "job", "once", image, "--", "true"]).await,
        "job.batch/once created\n"
    );
    let label = r"{.spec.template.metadata.labels.batch\.kubernetes\.io/job-name} {.spec.completions}";
    assert_eq!(json_path(&server, "job/once", label).await, "once 1");
    let nightly = ["create", "cronjob", "nightly", image, "--schedule=0 3 * * *", "--", "true"];
    assert_eq!(server.kubectl_ok(&nightly).await, "cronjob.batch/nightly created\n");
    let refused = server.kubectl(&["create", "cronjob", "never", image, "--schedule=61 * * * *"]).await;
    assert_eq!(
        String::from_utf8_lossy(&refused.stderr),
        "error: failed to create cronjob: CronJob.batch \"never\" is invalid: spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum \
         (59): 61\n"
    );
    server.kubectl_ok(&["create", "job", "now", "--from=cronjob/nightly"]).await;
    assert_eq!(json_path(&server, "job/now", "{.metadata.ownerReferences[0].kind}").await, "CronJob");
    server.running.stop().await;
}

/// What stands in a table, with the ages left out and the runs of blanks made one.
fn plain(table: &str) -> Vec<String> {
    let is_age = |word: &&str| word.strip_suffix('s').is_none_or(|digits| digits.parse::<u32>().is_err());
    table.lines().map(|line| line.split_whitespace().filter(is_age).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_those_that_people_know() {
    let server = Server::start().await;
    let set = |kind: &str, plural: &str| {
        let mut object = deployment("a");
        object["kind"] = kind.into();
        (format!("/apis/apps/v1/namespaces/default/{plural}"), object)
    };
    for (path, object) in [
        set("Deployment", "deployments"),
        set("ReplicaSet", "replicasets"),
        set("StatefulSet", "statefulsets"),
    ] {
        assert_eq!(server.post(&path, &object).await.0, 201);
    }
    let mut run = template()["spec"].clone();
    run["restartPolicy"] = "Never".into();
    let job = json!({ "template": { "spec": run } });
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    assert_eq!(server.post(jobs, &json!({ "metadata": { "name": "a" }, "spec": job })).await.0, 201);
    let cron = json!({ "schedule": "@daily", "timeZone": "Etc/UTC", "jobTemplate": { "spec": job } });
    let cron_jobs = "/apis/batch/v1/namespaces/default/cronjobs";
    assert_eq!(server.post(cron_jobs, &json!({ "metadata": { "name": "a" }, "spec": cron })).await.0, 201);
    let uid = json_path(&server, "job/a", "{.metadata.uid}").await;
    let mut shown = Vec::new();
    for kind in ["deploy", "rs", "sts", "job", "cronjob"] {
        shown.extend(plain(&server.kubectl_ok(&["get", kind, "-o", "wide"]).await));
    }
    assert_eq!(
        shown,
        [
            "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR",
            "a 0/2 0 0 main example.org/a:1 app=a",
            "NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR",
            "a 2 0 0 main example.org/a:1 app=a",
            "NAME READY AGE CONTAINERS IMAGES",
            "a 0/2 main example.org/a:1",
            "NAME STATUS COMPLETIONS DURATION AGE CONTAINERS IMAGES SELECTOR",
            &format!("a Running 0/1 main example.org/a:1 batch.kubernetes.io/controller-uid={uid}"),
            "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE CONTAINERS IMAGES SELECTOR",
            "a @daily Etc/UTC False 0 <none> main example.org/a:1 <none>",
        ]
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_debugged_and_resized_by_their_own_paths() {
    let server = Server::start().await;
    running_pod(&server, "p").await;
    server
        .kubectl_ok(&[
            "debug",
            "p",
            "--image=example.org/tools:1",
            "--container=tools",
            "--target=main",
            "--profile=general",
            "--attach=false",
        ])
        .await;
    assert_eq!(json_path(&server, "pod/p", "{.spec.ephemeralContainers[*].name}").await, "tools");
    let patch = r#"--patch={"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"2"}}}]}}"#;
    let refused = server.kubectl(&["patch", "pod", "p", "--subresource=resize", patch]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("Pod QOS Class may not change as a result of resizing"), "{told}");
    server.running.stop().await;
}
