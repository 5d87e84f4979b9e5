//! kube-rs: typed and dynamic objects, apply, watches and reflectors, discovery.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::discovery::{Discovery, Scope};
use kube::runtime::reflector::Lookup as _;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, ResourceExt};
use leasehold::client::Connection;
use serde_json::{Value, json};

use crate::server::Server;

async fn client(server: &Server) -> kube::Client {
    let kubeconfig = server.directory.path().join("kubeconfig");
    Connection::from_kubeconfig(&kubeconfig).await.expect("readable").client().expect("a client")
}

fn made<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("an object of its kind")
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    made(json!({ "metadata": { "name": name, "labels": { "app": "a" } }, "data": { "k": value } }))
}

fn pod(name: &str) -> Pod {
    made(json!({
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "main", "image": "example.org/app:1" }] },
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_made_applied_listed_in_pages_and_deleted() {
    let server = Server::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(client(&server).await);
    for number in 0..5 {
        api.create(&PostParams::default(), &config_map(&format!("c{number}"), "v")).await.expect("made");
    }
    let page = api.list(&ListParams::default().limit(2).labels("app=a")).await.expect("listed");
    assert_eq!((page.items.len(), page.metadata.remaining_item_count), (2, None));
    let token = page.metadata.continue_.expect("there is more");
    let rest = api.list(&ListParams::default().labels("app=a").continue_token(&token)).await.expect("listed");
    assert_eq!(rest.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["c2", "c3", "c4"]);

    let apply = PatchParams::apply("one");
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "applied" }, "data": { "a": "1" },
    });
    let applied = api.patch("applied", &apply, &Patch::Apply(&config)).await.expect("applied");
    assert_eq!(applied.managed_fields()[0].manager.as_deref(), Some("one"));
    let mut other = config.clone();
    other["data"]["a"] = "2".into();
    let conflict = api.patch("applied", &PatchParams::apply("two"), &Patch::Apply(&other)).await;
    let Err(kube::Error::Api(status)) = conflict else { panic!("{conflict:?}") };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    let forced = api.patch("applied", &PatchParams::apply("two").force(), &Patch::Apply(&other)).await;
    assert_eq!(forced.expect("forced").data.expect("data")["a"], "2");

    let mut stale = api.get("c0").await.expect("there");
    stale.metadata.resource_version = Some("1".into());
    let conflict = api.replace("c0", &PostParams::default(), &stale).await;
    assert!(matches!(conflict, Err(kube::Error::Api(status)) if status.code == 409));
    let gone = api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=a")).await;
    assert!(gone.is_ok());
    assert!(api.get_opt("c0").await.expect("answered").is_none());
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reflector_follows_lists_streamed_and_plain() {
    let server = Server::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(client(&server).await);
    api.create(&PostParams::default(), &config_map("before", "v")).await.expect("made");
    for config in [watcher::Config::default().labels("app=a"), watcher::Config::default().streaming_lists()] {
        let (reader, writer) = reflector::store();
        let mut events = reflector(writer, watcher(api.clone(), config)).applied_objects().boxed();
        let name = format!("after-{}", reader.len());
        let follow = async {
            while let Some(event) = events.next().await {
                if event.expect("a watch that works").name_any().starts_with("after") {
                    return;
                }
            }
        };
        let change = async {
            reader.wait_until_ready().await.expect("listed");
            assert!(reader.state().iter().any(|object| object.name_any() == "before"));
            api.create(&PostParams::default(), &config_map(&name, "v")).await.expect("made");
        };
        tokio::time::timeout(Duration::from_mins(1), async { tokio::join!(follow, change) })
            .await
            .expect("the new object is seen");
        assert!(reader.state().iter().any(|object| object.to_object_ref(()).name == name));
        api.delete(&name, &DeleteParams::default()).await.expect("deleted");
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_discovery_says_can_be_listed() {
    let server = Server::start().await;
    let client = client(&server).await;
    for discovery in
        [Discovery::new(client.clone()).run().await, Discovery::new(client.clone()).run_aggregated().await]
    {
        let discovery = discovery.expect("discovered");
        let mut listed = 0;
        for group in discovery.groups() {
            for (resource, capabilities) in group.recommended_resources() {
                if !capabilities.supports_operation(kube::discovery::verbs::LIST) {
                    continue;
                }
                let api: Api<DynamicObject> = match capabilities.scope {
                    Scope::Cluster | Scope::Namespaced => Api::all_with(client.clone(), &resource),
                };
                let found = api.list(&ListParams::default()).await;
                assert!(found.is_ok(), "{} {}: {found:?}", resource.api_version, resource.kind);
                listed += 1;
            }
        }
        assert!(listed >= 30, "only {listed} kinds can be listed");
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_objects_are_written_apart() {
    let server = Server::start().await;
    let client = client(&server).await;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let deployment = made(json!({
        "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "main", "image": "example.org/app:1" }] },
            },
        },
    }));
    deployments.create(&PostParams::default(), &deployment).await.expect("made");
    let scale = deployments.get_scale("web").await.expect("scaled");
    assert_eq!(scale.spec.expect("a spec").replicas, Some(1));
    let patch = Patch::Merge(json!({ "spec": { "replicas": 3 } }));
    let scale = deployments.patch_scale("web", &PatchParams::default(), &patch).await.expect("scaled");
    assert_eq!(scale.spec.expect("a spec").replicas, Some(3));
    let status = Patch::Merge(json!({ "spec": { "replicas": 9 }, "status": { "observedGeneration": 2 } }));
    let written = deployments.patch_status("web", &PatchParams::default(), &status).await.expect("written");
    assert_eq!(written.spec.expect("a spec").replicas, Some(3));
    assert_eq!(written.status.expect("a status").observed_generation, Some(2));

    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("one")).await.expect("made");
    pods.evict("one", &EvictParams::default()).await.expect("evicted");
    assert!(pods.get_opt("one").await.expect("answered").is_none(), "an unbound Pod goes at once");
    let namespaces: Api<Namespace> = Api::all(client);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    namespaces.create(&dry, &made(json!({ "metadata": { "name": "dry" } }))).await.expect("would be made");
    assert!(namespaces.get_opt("dry").await.expect("answered").is_none());
    server.running.stop().await;
}
