//! What Services are given.

use serde_json::json;

use crate::server::Server;

const SERVICES: &str = "/api/v1/namespaces/default/services";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_endpoint_is_a_service_itself_and_follows_it_when_it_moves() {
    let server = Server::start().await;
    let (code, service) = server.get(&format!("{SERVICES}/kubernetes")).await;
    assert_eq!((code, service["spec"]["clusterIP"].as_str()), (200, Some("10.96.0.1")), "{service}");
    assert_eq!(service["spec"]["ports"][0]["port"], 443);
    let server = server.restart().await;
    let port = server.running.local_addr.port();
    let (_, service) = server.get(&format!("{SERVICES}/kubernetes")).await;
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_and_ports_outlive_a_restart_and_are_free_again_after_a_deletion() {
    let server = Server::start().await;
    let service = |name: &str, address: Option<&str>| {
        let mut service = json!({
            "metadata": { "name": name }, "spec": { "type": "NodePort", "ports": [{ "port": 80 }] },
        });
        if let Some(address) = address {
            service["spec"]["clusterIP"] = address.into();
        }
        service
    };
    let (code, made) = server.post(SERVICES, &service("a", None)).await;
    assert_eq!(code, 201, "{made}");
    let address = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(made["spec"]["ports"][0]["nodePort"].as_u64().is_some_and(|port| port >= 30000), "{made}");
    let server = server.restart().await;
    let (code, refusal) = server.post(SERVICES, &service("b", Some(&address))).await;
    assert_eq!(code, 422);
    let expected = format!("failed to allocate IP {address}: provided IP is already allocated");
    assert!(refusal["message"].as_str().unwrap().contains(&expected), "{refusal}");
    assert_eq!(server.delete(&format!("{SERVICES}/a"), "").await.0, 200);
    assert_eq!(server.post(SERVICES, &service("b", Some(&address))).await.0, 201);
    server.running.stop().await;
}
