//! Who is let in, and on which addresses.

use std::sync::Arc;

use leasehold::driver::clock;
use leasehold::server::tls::{Authority, MASTERS, NODES};

use crate::server::{Server, answer, client};

const PODS: &str = "/api/v1/pods";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_certificates_of_this_cluster_are_let_in_and_groups_say_how_far() {
    let server = Server::start().await;
    let ca = server.running.authority.ca_pem();
    let now = clock::wall();
    let nobody = client(ca, None);
    let (code, body) = answer(nobody.get(server.url(PODS)).send().await.unwrap()).await;
    assert_eq!(
        (code, body["reason"].as_str(), body["kind"].as_str()),
        (401, Some("Unauthorized"), Some("Status"))
    );
    for open in ["/healthz", "/livez", "/readyz", "/readyz?verbose", "/version"] {
        assert_eq!(nobody.get(server.url(open)).send().await.unwrap().status(), 200, "{open}");
    }
    assert_eq!(nobody.get(server.url("/metrics")).send().await.unwrap().status(), 401);

    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = Authority::load_or_create(elsewhere.path(), now).unwrap();
    let foreign = foreign.issue_client("leasehold-admin", &[MASTERS], now).unwrap();
    assert_eq!(client(ca, Some(&foreign)).get(server.url(PODS)).send().await.unwrap().status(), 401);

    let node = server.running.authority.issue_client("system:node:a", &[NODES], now).unwrap();
    let own = format!("{PODS}?fieldSelector=spec.nodeName%3Da");
    assert_eq!(client(ca, Some(&node)).get(server.url(&own)).send().await.unwrap().status(), 200);

    let stranger = server.running.authority.issue_client("eve", &["others"], now).unwrap();
    let stranger = client(ca, Some(&stranger));
    let (code, body) = answer(stranger.get(server.url(PODS)).send().await.unwrap()).await;
    assert_eq!(code, 403);
    assert_eq!(
        body["message"],
        "pods is forbidden: User \"eve\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
    );
    assert_eq!(stranger.get(server.url("/apis")).send().await.unwrap().status(), 200);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_and_the_certificates_outlive_a_restart_and_the_kubeconfig_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::start().await;
    let (ca, admin) = (server.running.authority.ca_pem().to_owned(), server.running.admin.clone());
    let uid = server.running.cluster_uid.clone();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(server.directory.path().join("kubeconfig")), 0o600);
    assert_eq!(mode(server.data().join("store.db")), 0o600);
    let server = server.restart().await;
    assert_eq!(server.running.authority.ca_pem(), ca);
    assert_eq!(server.running.admin, admin);
    assert_eq!(server.running.cluster_uid, uid);
    let (_, namespace) = server.get("/api/v1/namespaces/kube-system").await;
    assert_eq!(namespace["metadata"]["uid"], uid.as_str());
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ipv6_address_is_listened_on() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server = Server::start_in(directory, "[::1]:0").await;
    assert!(server.running.url().starts_with("https://[::1]:"), "{}", server.running.url());
    assert_eq!(server.get("/api/v1/namespaces/default").await.0, 200);
    assert!(server.kubectl_ok(&["get", "ns", "default"]).await.contains("Active"));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unspecified_address_answers_on_loopback_by_every_name_of_the_certificate() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server = Server::start_in(directory, "0.0.0.0:0").await;
    let port = server.running.local_addr.port();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{port}/version");
        assert_eq!(server.http.get(url).send().await.unwrap().status(), 200, "{host}");
    }
    server.running.stop().await;
}
