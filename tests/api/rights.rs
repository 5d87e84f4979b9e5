//! Roles: what they allow, who may hand them out, and what kubectl tells of it.

use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Answer, Server, answer};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Server {
    /// A request of somebody else, as the administrator may make it.
    async fn ask_as(&self, user: &str, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.http.request(method, self.url(path)).header("impersonate-user", user);
        let request = request.header("content-type", "application/json").body(body.to_string());
        answer(request.send().await.unwrap()).await
    }

    async fn grant(&self, user: &str, kind: &str, role: &str) {
        let name = format!("{user}-{}", role.replace(':', "-"));
        let body = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
            "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user }],
        });
        let (code, body) = self.post(&format!("{RBAC}/namespaces/default/rolebindings"), &body).await;
        assert_eq!(code, 201, "{body}");
    }

    /// kubectl that must fail: what it said.
    async fn kubectl_refused(&self, arguments: &[&str]) -> String {
        let output: Output = self.kubectl(arguments).await;
        assert!(!output.status.success(), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_acts_as_others_and_tells_who_one_is_and_what_one_may() {
    let server = Server::start().await;
    let whoami = server.kubectl_ok(&["auth", "whoami"]).await;
    assert!(whoami.contains("leasehold-admin") && whoami.contains("system:masters"), "{whoami}");
    assert_eq!(server.kubectl_ok(&["auth", "can-i", "*", "*"]).await.trim(), "yes");
    let no = server.kubectl(&["auth", "can-i", "list", "pods", "--as", "ann"]).await;
    assert_eq!((text(&no.stdout).trim(), no.status.code()), ("no", Some(1)));
    let refused = server.kubectl_refused(&["get", "pods", "--as", "ann"]).await;
    assert_eq!(
        refused,
        "Error from server (Forbidden): pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in \
         the namespace \"default\"\n"
    );
    server.kubectl_ok(&["create", "rolebinding", "b", "--clusterrole=view", "--user=ann"]).await;
    server.kubectl_ok(&["get", "pods", "--as", "ann"]).await;
    let yes = ["auth", "can-i", "list", "daemonsets.apps", "--as", "ann"];
    assert_eq!(server.kubectl_ok(&yes).await.trim(), "yes");
    let refused = server.kubectl_refused(&["get", "pods", "-A", "--as", "ann"]).await;
    assert!(refused.contains("at the cluster scope"), "{refused}");
    let refused = server.kubectl_refused(&["get", "secrets", "--as", "ann"]).await;
    assert!(refused.contains("cannot list resource \"secrets\""), "{refused}");
    let list = server.kubectl_ok(&["auth", "can-i", "--list", "--as", "ann"]).await;
    assert!(list.contains("daemonsets.apps") && list.contains("selfsubjectaccessreviews"), "{list}");
    let groups = ["auth", "can-i", "delete", "nodes", "--as", "joe", "--as-group", "system:masters"];
    assert_eq!(text(&server.kubectl(&groups).await.stdout).trim(), "yes");
    let (code, body) = server.ask_as("ann", Method::GET, "/metrics", &Value::Null).await;
    assert_eq!(
        (code, &body["message"]),
        (403, &json!("forbidden: User \"ann\" cannot get path \"/metrics\""))
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubeconfig_with_a_token_that_may_view_only_views() {
    let server = Server::start().await;
    server.kubectl_ok(&["create", "serviceaccount", "viewer"]).await;
    let binding = ["create", "rolebinding", "v", "--clusterrole=view", "--serviceaccount=default:viewer"];
    server.kubectl_ok(&binding).await;
    let token = server.kubectl_ok(&["create", "token", "viewer", "--duration=15m"]).await;
    let ca = server.directory.path().join("ca.crt");
    std::fs::write(&ca, server.running.authority.ca_pem()).unwrap();
    let kubeconfig = server.directory.path().join("viewer");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": server.running.url(), "certificate-authority": ca } }],
        "users": [{ "name": "u", "user": { "token": token.trim() } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let run = async |arguments: &[&str]| {
        let path = kubeconfig.to_string_lossy().into_owned();
        let all = [&["--kubeconfig", &path], arguments].concat();
        let owned: Vec<String> = all.iter().map(|&text| text.to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            std::process::Command::new("kubectl").args(owned).output().unwrap()
        })
        .await
        .unwrap()
    };
    let whoami = run(&["auth", "whoami"]).await;
    assert!(text(&whoami.stdout).contains("system:serviceaccount:default:viewer"), "{whoami:?}");
    let seen = run(&["get", "configmaps,serviceaccounts"]).await;
    assert!(seen.status.success() && text(&seen.stdout).contains("serviceaccount/viewer"), "{seen:?}");
    let refused = run(&["create", "configmap", "x"]).await;
    assert_eq!(
        text(&refused.stderr),
        "error: failed to create configmap: configmaps is forbidden: User \"system:serviceaccount:default:viewer\" cannot \
         create resource \"configmaps\" in API group \"\" in the namespace \"default\"\n"
    );
    server.kubectl_ok(&["delete", "serviceaccount", "viewer"]).await;
    let gone = run(&["get", "configmaps"]).await;
    assert!(text(&gone.stderr).contains("You must be logged in to the server"), "{gone:?}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hands_out_more_than_they_have() {
    let server = Server::start().await;
    server.grant("ann", "ClusterRole", "admin").await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let role = |name: &str, verbs: &[&str], resource: &str| {
        let rules = json!([{ "verbs": verbs, "apiGroups": [""], "resources": [resource] }]);
        json!({ "metadata": { "name": name }, "rules": rules })
    };
    let (code, body) = server.ask_as("ann", Method::POST, &roles, &role("r", &["get"], "pods")).await;
    assert_eq!(code, 201, "{body}");
    let (code, body) =
        server.ask_as("ann", Method::POST, &roles, &role("s", &["get", "bind"], "nodes")).await;
    assert_eq!(code, 403);
    assert_eq!(
        body["message"],
        "roles.rbac.authorization.k8s.io \"s\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\" \
         \"bind\"]}"
    );
    // By a patch, whose outcome is known only when it is applied.
    let patch = json!([{ "op": "add", "path": "/rules/0/resources/-", "value": "nodes" }]);
    let request = server.http.patch(server.url(&format!("{roles}/r"))).header("impersonate-user", "ann");
    let request = request.header("content-type", "application/json-patch+json").body(patch.to_string());
    assert_eq!(answer(request.send().await.unwrap()).await.0, 403);
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    let request = server.http.patch(server.url(&format!("{roles}/r"))).header("impersonate-user", "ann");
    let request = request.header("content-type", "application/merge-patch+json").body(label.to_string());
    assert_eq!(answer(request.send().await.unwrap()).await.0, 200);

    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let binding = |name: &str, kind: &str, role: &str| {
        json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
            "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann" }],
        })
    };
    for (name, kind, role, code) in [
        ("own", "Role", "r", 201),
        ("view", "ClusterRole", "view", 201),
        ("more", "ClusterRole", "cluster-admin", 403),
        ("none", "ClusterRole", "none", 404),
    ] {
        let (got, body) = server.ask_as("ann", Method::POST, &bindings, &binding(name, kind, role)).await;
        assert_eq!(got, code, "{name}: {body}");
    }
    // Who may bind a role need not have what it allows.
    let rules = json!([{
        "verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
        "resourceNames": ["cluster-admin"],
    }]);
    let (code, _) = server.post(&roles, &json!({ "metadata": { "name": "binder" }, "rules": rules })).await;
    assert_eq!(code, 201);
    server.grant("ann", "Role", "binder").await;
    let more = binding("more", "ClusterRole", "cluster-admin");
    assert_eq!(server.ask_as("ann", Method::POST, &bindings, &more).await.0, 201);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shipped_roles_are_there_are_completed_and_what_people_changed_stays() {
    let server = Server::start().await;
    let path = format!("{RBAC}/clusterroles/system:basic-user");
    let (code, mut role) = server.get(&path).await;
    assert_eq!(code, 200);
    assert_eq!(role["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
    let own = json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["nodes"] });
    role["rules"] = json!([own]);
    assert_eq!(server.put(&path, &role).await.0, 200);
    let kept = format!("{RBAC}/clusterroles/view");
    let (_, mut view) = server.get(&kept).await;
    assert!(view["rules"].as_array().is_some_and(|rules| rules.len() > 5), "{view}");
    view["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false".into();
    view["aggregationRule"] = Value::Null;
    view["rules"] = json!([]);
    assert_eq!(server.put(&kept, &view).await.0, 200);
    let server = server.restart().await;
    let (_, role) = server.get(&path).await;
    assert_eq!(role["rules"][0], own);
    assert!(role.to_string().contains("selfsubjectrulesreviews"), "{role}");
    let (_, view) = server.get(&kept).await;
    assert!(view["rules"].as_array().is_none_or(Vec::is_empty), "{view}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_are_asked_and_not_kept() {
    let server = Server::start().await;
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let asked = |user: &str| {
        json!({ "spec": { "user": user, "groups": ["system:authenticated"], "resourceAttributes": {
            "verb": "get", "resource": "pods", "namespace": "default",
        } } })
    };
    let (code, review) = server.post(path, &asked("ann")).await;
    assert_eq!((code, &review["status"]["allowed"]), (201, &json!(false)), "{review}");
    server.grant("ann", "ClusterRole", "view").await;
    assert_eq!(server.post(path, &asked("ann")).await.1["status"]["allowed"], true);
    let (code, body) = server.post(path, &json!({ "spec": {} })).await;
    assert_eq!(code, 422, "{body}");
    assert!(body["message"].as_str().unwrap().contains("at least one of user or group must be specified"));
    assert_eq!(server.get(path).await.0, 405);
    assert_eq!(server.ask_as("ann", Method::POST, path, &asked("ann")).await.0, 403);
    let (_, resources) = server.get("/apis/authorization.k8s.io/v1").await;
    let names: Vec<&str> =
        resources["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    assert!(names.contains(&"selfsubjectrulesreviews"), "{names:?}");
    assert_eq!(resources["resources"][0]["verbs"], json!(["create"]));
    let (code, document) = server.get("/openapi/v3/apis/authorization.k8s.io/v1").await;
    assert_eq!(code, 200);
    let post = &document["paths"]["/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"]["post"];
    assert_eq!(post["x-kubernetes-action"], "post");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_names_objects_lets_them_be_listed_by_name() {
    let server = Server::start().await;
    let rules = json!([
        { "verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["x"] },
        { "verbs": ["get"], "apiGroups": [""], "resources": ["namespaces"] },
    ]);
    let role = json!({ "metadata": { "name": "r" }, "rules": rules });
    assert_eq!(server.post(&format!("{RBAC}/namespaces/default/roles"), &role).await.0, 201);
    server.grant("ann", "Role", "r").await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let none = Value::Null;
    for (path, code) in [
        (maps.to_owned(), 403),
        (format!("{maps}?fieldSelector=metadata.name%3Dx"), 200),
        (format!("{maps}?fieldSelector=metadata.name%3Dy"), 403),
        (format!("{maps}/x"), 404),
        (format!("{maps}/y"), 403),
        ("/api/v1/namespaces/default".into(), 200),
        ("/api/v1/namespaces/kube-system".into(), 403),
        ("/api/v1/namespaces".into(), 403),
    ] {
        assert_eq!(server.ask_as("ann", Method::GET, &path, &none).await.0, code, "{path}");
    }
    server.running.stop().await;
}
