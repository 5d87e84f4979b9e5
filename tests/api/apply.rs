//! Server-side apply and the owners of fields, raw and as kubectl does it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Answer, Server, answer};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const APPLY: &str = "application/apply-patch+yaml";

impl Server {
    async fn apply_as(&self, path: &str, parameters: &str, configuration: &str) -> Answer {
        let path = format!("{path}?{parameters}");
        self.send(Method::PATCH, &path, APPLY, configuration.to_owned()).await
    }

    async fn kubectl_stdin(&self, arguments: &[&str], stdin: &str) -> (String, String) {
        let output = self.kubectl_with(arguments, stdin).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }
}

fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|e| format!("{} {} {}", text(e, "manager"), text(e, "operation"), text(e, "subresource")))
        .collect()
}

fn map(data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata: {data}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_makes_an_object_and_is_merged_into_it() {
    let server = Server::start().await;
    let path = format!("{MAPS}/m");
    let (code, made) = server.apply_as(&path, "fieldManager=a", &map("{x: \"1\", y: \"1\"}")).await;
    assert_eq!((code, &made["data"]), (201, &json!({ "x": "1", "y": "1" })), "{made}");
    let (code, same) = server.apply_as(&path, "fieldManager=a", &map("{x: \"1\", y: \"1\"}")).await;
    assert_eq!((code, &same), (200, &made));
    let (code, shown) = server.apply_as(&path, "fieldManager=a&dryRun=All", &map("{x: \"2\"}")).await;
    assert_eq!((code, &shown["data"]), (200, &json!({ "x": "2" })));
    let (code, refused) = server.apply_as(&path, "fieldManager=b", &map("{x: \"2\", z: \"1\"}")).await;
    assert_eq!(
        refused,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 409,
            "reason": "Conflict",
            "message": "Apply failed with 1 conflict: conflict with \"a\": .data.x",
            "details": { "causes": [
                { "reason": "FieldManagerConflict", "message": "conflict with \"a\"", "field": ".data.x" },
            ] },
        })
    );
    assert_eq!(code, 409);
    let (_, forced) = server.apply_as(&path, "fieldManager=b&force=true", &map("{x: \"2\", z: \"1\"}")).await;
    assert_eq!(forced["data"], json!({ "x": "2", "y": "1", "z": "1" }));
    assert_eq!(owners(&forced), ["a Apply ", "b Apply "]);
    let (_, let_go) = server.apply_as(&path, "fieldManager=b", &map("{z: \"1\"}")).await;
    assert_eq!(let_go["data"], json!({ "y": "1", "z": "1" }));
    let merge = json!({ "data": { "y": "5" }, "metadata": { "managedFields": [{}] } });
    let (_, reset) =
        server.send(Method::PATCH, &path, "application/merge-patch+json", merge.to_string()).await;
    assert_eq!((&reset["data"]["y"], owners(&reset)), (&json!("5"), vec![]));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_to_apply_that_cannot_be_are_refused_in_upstreams_words() {
    let server = Server::start().await;
    let path = format!("{MAPS}/m");
    for (parameters, configuration, code, message) in [
        (
            "",
            map("{}"),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        ("fieldManager=a", "a: [".into(), 400, "error decoding YAML: "),
        (
            "fieldManager=a",
            map("{}").replace("ConfigMap", "Secret"),
            400,
            "invalid object type: /v1, Kind=Secret",
        ),
        (
            "fieldManager=a",
            map("{}").replace("name: m", "name: m\n  managedFields: []"),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "fieldManager=a",
            map("{x: 1}"),
            500,
            "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .data.x: expected string, got 1",
        ),
        (
            "fieldManager=a",
            map("{}").replace("\ndata", "\ndate"),
            500,
            "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .date: field not declared in schema",
        ),
    ] {
        let (found, refused) = server.apply_as(&path, parameters, &configuration).await;
        let told = refused["message"].as_str().unwrap_or_default();
        assert!(found == code && told.starts_with(message), "{found} {told}");
    }
    let (code, _) = server.send(Method::PATCH, &path, "application/apply-patch+cbor", "x").await;
    assert_eq!(code, 415);
    let forced = format!("{path}?force=true");
    let (code, _) = server.send(Method::PATCH, &forced, "application/merge-patch+json", "{}").await;
    assert_eq!(code, 422);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_are_named_by_parameter_or_user_agent() {
    let server = Server::start().await;
    let body = json!({ "metadata": { "name": "m" }, "data": { "x": "1" } });
    let request = server.http.post(server.url(MAPS)).header("user-agent", "robot/1.2 (linux)");
    let (_, made) = answer(
        request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap(),
    )
    .await;
    assert_eq!(owners(&made), ["robot Update "]);
    let merge = json!({ "data": { "x": "2" } }).to_string();
    let path = format!("{MAPS}/m?fieldManager=hand");
    let (_, patched) = server.send(Method::PATCH, &path, "application/merge-patch+json", merge).await;
    assert_eq!(owners(&patched), ["hand Update ", "robot Update "]);
    let namespace = server.get("/api/v1/namespaces/default").await.1;
    assert_eq!(owners(&namespace), ["leasehold-coordinator Update "]);
    server.running.stop().await;
}

const DAEMON_SET: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: exporter
  finalizers: [example.org/a]
spec:
  selector:
    matchLabels: {app: exporter}
  template:
    metadata:
      labels: {app: exporter}
    spec:
      containers:
      - name: main
        image: example.org/exporter:1
        args: [--verbose]
        env:
        - {name: A, value: a}
        ports:
        - {containerPort: 9100}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_applies_on_the_server_beside_another_applier() {
    let server = Server::start().await;
    let apply = ["apply", "--server-side", "-f", "-"];
    let (out, error) = server.kubectl_stdin(&apply, DAEMON_SET).await;
    assert_eq!((out.as_str(), error.as_str()), ("daemonset.apps/exporter serverside-applied\n", ""));
    let path = format!("{DAEMON_SETS}/exporter");
    let before = server.get(&path).await.1;
    server.kubectl_stdin(&apply, DAEMON_SET).await;
    assert_eq!(server.get(&path).await.1, before);

    let beside = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "exporter", "finalizers": ["example.org/b"] },
        "spec": { "template": { "spec": { "containers": [
            { "name": "main", "env": [{ "name": "B", "value": "b" }], "ports": [{ "containerPort": 9101 }] },
            { "name": "side", "image": "example.org/side:1" },
        ] } } },
    });
    let (code, both) = server.apply_as(&path, "fieldManager=mesh", &beside.to_string()).await;
    assert_eq!(code, 200, "{both}");
    let containers = &both["spec"]["template"]["spec"]["containers"];
    let names = |list: &Value, key: &str| -> Vec<Value> {
        list.as_array().cloned().unwrap_or_default().iter().map(|item| item[key].clone()).collect()
    };
    assert_eq!(names(containers, "name"), ["main", "side"]);
    assert_eq!(names(&containers[0]["env"], "name"), ["A", "B"]);
    assert_eq!(names(&containers[0]["ports"], "containerPort"), [9100, 9101]);
    assert_eq!(both["metadata"]["finalizers"], json!(["example.org/a", "example.org/b"]));

    let (_, refused) = server
        .kubectl_stdin(&apply, &DAEMON_SET.replace("{name: A, value: a}", "{name: B, value: mine}"))
        .await;
    assert!(
        refused.contains(
            "Apply failed with 1 conflict: conflict with \"mesh\": \
             .spec.template.spec.containers[name=\"main\"].env[name=\"B\"].value"
        ),
        "{refused}"
    );
    let forced = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let (out, error) = server
        .kubectl_stdin(&forced, &DAEMON_SET.replace("{name: A, value: a}", "{name: B, value: mine}"))
        .await;
    assert_eq!(out, "daemonset.apps/exporter serverside-applied\n", "{error}");
    let now = server.get(&path).await.1;
    assert_eq!(
        now["spec"]["template"]["spec"]["containers"][0]["env"],
        json!([{ "name": "B", "value": "mine" }])
    );

    let (diff, _) =
        server.kubectl_stdin(&["diff", "--server-side", "-f", "-"], &DAEMON_SET.replace(":1", ":2")).await;
    assert!(
        diff.contains("+        image: example.org/exporter:2") || diff.contains("example.org/exporter:2"),
        "{diff}"
    );
    let hidden = server.kubectl_ok(&["get", "ds", "exporter", "-o", "yaml"]).await;
    let shown = server.kubectl_ok(&["get", "ds", "exporter", "-o", "yaml", "--show-managed-fields"]).await;
    assert!(!hidden.contains("managedFields") && shown.contains("f:image: {}"), "{shown}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_goes_over_from_client_side_apply() {
    let server = Server::start().await;
    server.apply(DAEMON_SET).await;
    let path = format!("{DAEMON_SETS}/exporter");
    assert_eq!(owners(&server.get(&path).await.1), ["kubectl-client-side-apply Update "]);
    let changed = DAEMON_SET.replace("exporter:1", "exporter:2").replace("        args: [--verbose]\n", "");
    let (out, error) = server.kubectl_stdin(&["apply", "--server-side", "-f", "-"], &changed).await;
    assert_eq!(out, "daemonset.apps/exporter serverside-applied\n", "{error}");
    let now = server.get(&path).await.1;
    let container = &now["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["image"], container.get("args")),
        (&json!("example.org/exporter:2"), None),
        "{now}"
    );
    assert!(owners(&now).contains(&"kubectl Apply ".to_owned()), "{:?}", owners(&now));
    server.kubectl_ok(&["set", "image", "ds/exporter", "main=example.org/exporter:3"]).await;
    let (_, refused) = server.kubectl_stdin(&["apply", "--server-side", "-f", "-"], &changed).await;
    assert!(
        refused.contains(
            "conflict with \"kubectl-set\" using apps/v1: .spec.template.spec.containers[name=\"main\"].image"
        ),
        "{refused}"
    );
    server.running.stop().await;
}
