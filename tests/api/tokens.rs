//! Tokens of ServiceAccounts: issued, good as long as what they are bound to lives, and known to others.

use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{Answer, Server, answer, client};

const ACCOUNT: &str = "/api/v1/namespaces/default/serviceaccounts/default";
const PODS: &str = "/api/v1/namespaces/default/pods";

impl Server {
    /// GET with a bearer token and no certificate.
    async fn get_as(&self, token: &str, path: &str) -> Answer {
        let http = client(self.running.authority.ca_pem(), None);
        answer(http.get(self.url(path)).bearer_auth(token).send().await.unwrap()).await
    }

    async fn who_is(&self, token: &str) -> Answer {
        let http = client(self.running.authority.ca_pem(), None);
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let request = http.post(self.url(path)).header("content-type", "application/json");
        answer(request.body("{}").bearer_auth(token).send().await.unwrap()).await
    }

    async fn token(&self, spec: &Value) -> Answer {
        self.post(&format!("{ACCOUNT}/token"), &json!({ "spec": spec })).await
    }

    async fn token_text(&self, spec: &Value) -> String {
        let (code, body) = self.token(spec).await;
        assert_eq!(code, 201, "{body}");
        body["status"]["token"].as_str().unwrap().to_owned()
    }
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "x" }], "nodeName": "n1" },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_its_account_and_dies_with_the_pod_it_is_bound_to() {
    let server = Server::start().await;
    assert_eq!(server.post("/api/v1/nodes", &json!({ "metadata": { "name": "n1" } })).await.0, 201);
    let (code, made) = server.post(PODS, &pod("p")).await;
    assert_eq!(code, 201, "{made}");
    let uid = &made["metadata"]["uid"];
    let bound = json!({ "kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid });
    let token = server.token_text(&json!({ "boundObjectRef": bound, "expirationSeconds": 600 })).await;
    let (code, review) = server.who_is(&token).await;
    assert_eq!(code, 201, "{review}");
    let user = &review["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:default");
    assert_eq!(user["uid"], server.get(ACCOUNT).await.1["metadata"]["uid"]);
    assert_eq!(
        user["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-uid"], json!([uid]));
    assert_eq!(user["extra"]["authentication.kubernetes.io/node-name"], json!(["n1"]));
    assert_eq!(server.get_as(&token, PODS).await.0, 403);

    let review = json!({ "spec": { "token": token } });
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (code, known) = server.post(reviews, &review).await;
    assert_eq!((code, &known["status"]["authenticated"]), (201, &json!(true)), "{known}");
    assert_eq!(known["status"]["user"]["username"], "system:serviceaccount:default:default");
    let other = json!({ "spec": { "token": token, "audiences": ["vault"] } });
    let (_, unknown) = server.post(reviews, &other).await;
    assert!(unknown["status"]["error"].as_str().unwrap().contains("target audiences"), "{unknown}");

    assert_eq!(server.delete(&format!("{PODS}/p"), r#"{"gracePeriodSeconds":0}"#).await.0, 200);
    assert_eq!(server.get_as(&token, "/apis").await.0, 401);
    let (_, known) = server.post(reviews, &review).await;
    assert_eq!(known["status"]["authenticated"], Value::Null);
    assert_eq!(
        known["status"]["error"],
        "[invalid bearer token, service account token has been invalidated]"
    );
    // A Pod of the same name is another one.
    assert_eq!(server.post(PODS, &pod("p")).await.0, 201);
    assert_eq!(server.get_as(&token, "/apis").await.0, 401);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_dies_with_its_account_and_outlives_a_restart() {
    let server = Server::start().await;
    let token = server.token_text(&json!({})).await;
    assert_eq!(server.get_as(&token, "/apis").await.0, 200);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(server.data().join("pki/sa.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let server = server.restart().await;
    assert_eq!(server.get_as(&token, "/apis").await.0, 200);
    assert_eq!(server.delete(ACCOUNT, "").await.0, 200);
    assert_eq!(server.get_as(&token, "/apis").await.0, 401);
    let body = json!({ "metadata": { "name": "default" } });
    assert_eq!(server.post("/api/v1/namespaces/default/serviceaccounts", &body).await.0, 201);
    assert_eq!(server.get_as(&token, "/apis").await.0, 401, "another account has that name now");
    assert_eq!(server.get_as("abc", "/apis").await.0, 401);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_a_token_is_judged_as_upstream_judges_it() {
    let server = Server::start().await;
    assert_eq!(server.post(PODS, &pod("p")).await.0, 201);
    let other = json!({ "metadata": { "name": "other" } });
    assert_eq!(server.post("/api/v1/namespaces/default/serviceaccounts", &other).await.0, 201);
    let bound = |kind: &str, name: &str, uid: &str| json!({ "boundObjectRef": { "kind": kind, "apiVersion": "v1", "name": name, "uid": uid } });
    let cases = [
        (json!({ "expirationSeconds": 599 }), 422, "may not specify a duration less than 10 minutes"),
        (
            json!({ "expirationSeconds": (1_i64 << 32) + 1 }),
            422,
            "may not specify a duration larger than 2^32 seconds",
        ),
        (bound("Pod", "none", ""), 404, "pods \"none\" not found"),
        (bound("Pod", "p", "other"), 409, "the UID in the bound object reference (other)"),
        (bound("ConfigMap", "x", ""), 400, "cannot bind token to object of type"),
        (json!({ "expirationSeconds": "x" }), 400, "cannot be handled as a TokenRequest"),
    ];
    for (spec, code, text) in cases {
        let (got, body) = server.token(&spec).await;
        assert_eq!(got, code, "{spec}: {body}");
        assert!(body["message"].as_str().unwrap().contains(text), "{spec}: {body}");
    }
    let path = "/api/v1/namespaces/default/serviceaccounts/other/token";
    let (code, body) = server.post(path, &json!({ "spec": bound("Pod", "p", "") })).await;
    assert_eq!(code, 400, "{body}");
    assert_eq!(
        body["message"],
        "cannot bind token for serviceaccount \"other\" to pod running with serviceaccount \"default\""
    );
    let none = "/api/v1/namespaces/default/serviceaccounts/none/token";
    assert_eq!(server.post(none, &json!({ "spec": {} })).await.0, 404);
    let (_, body) = server.token(&json!({})).await;
    assert_eq!(body["spec"]["expirationSeconds"], 3600);
    assert_eq!(body["spec"]["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_find_the_key_by_which_tokens_are_known() {
    let server = Server::start().await;
    let token = server.token_text(&json!({})).await;
    let (code, configuration) = server.get_as(&token, "/.well-known/openid-configuration").await;
    assert_eq!(
        (code, &configuration["issuer"]),
        (200, &json!("https://kubernetes.default.svc.cluster.local"))
    );
    assert!(configuration["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"));
    let (code, keys) = server.get_as(&token, "/openid/v1/jwks").await;
    assert_eq!((code, &keys["keys"][0]["crv"]), (200, &json!("P-256")));
    let nobody = client(server.running.authority.ca_pem(), None);
    let refused = nobody.get(server.url("/openid/v1/jwks")).timeout(Duration::from_secs(10));
    assert_eq!(refused.send().await.unwrap().status(), 401);
    server.running.stop().await;
}
