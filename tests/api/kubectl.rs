//! What people do with kubectl.

use crate::server::Server;

const DAEMON_SET: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: exporter
  labels: {app: exporter}
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
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_is_applied_changed_shown_and_deleted() {
    let server = Server::start().await;
    let namespaces = server.kubectl_ok(&["get", "namespaces", "-o", "name"]).await;
    assert_eq!(
        namespaces,
        "namespace/default\nnamespace/kube-node-lease\nnamespace/kube-public\nnamespace/kube-system\n\
         namespace/leasehold-system\n"
    );
    assert_eq!(server.apply(DAEMON_SET).await, "daemonset.apps/exporter created\n");
    assert_eq!(server.apply(DAEMON_SET).await, "daemonset.apps/exporter unchanged\n");
    let changed = DAEMON_SET.replace("exporter:1", "exporter:2");
    assert_eq!(server.apply(&changed).await, "daemonset.apps/exporter configured\n");
    let image = "jsonpath={.spec.template.spec.containers[*].image} {.metadata.generation}";
    assert_eq!(server.kubectl_ok(&["get", "ds", "exporter", "-o", image]).await, "example.org/exporter:2 2");
    server.kubectl_ok(&["label", "ds", "exporter", "tier=edge"]).await;
    server.kubectl_ok(&["annotate", "ds", "exporter", "note=x"]).await;
    assert!(
        server.kubectl_ok(&["get", "ds", "-l", "tier=edge", "--no-headers"]).await.starts_with("exporter ")
    );
    let wide = server.kubectl_ok(&["get", "daemonsets", "-A", "-o", "wide"]).await;
    assert!(wide.starts_with("NAMESPACE ") && wide.contains("example.org/exporter:2"), "{wide}");
    let described = server.kubectl_ok(&["describe", "ds", "exporter"]).await;
    assert!(described.contains("Image:      example.org/exporter:2"), "{described}");
    let explained = server.kubectl_ok(&["explain", "daemonset.spec.updateStrategy"]).await;
    assert!(explained.contains("rollingUpdate"), "{explained}");
    assert!(server.kubectl_ok(&["get", "ds", "exporter", "-o", "yaml"]).await.contains("kind: DaemonSet"));
    assert_eq!(
        server.kubectl_ok(&["delete", "ds", "exporter"]).await,
        "daemonset.apps \"exporter\" deleted\n"
    );
    let gone = server.kubectl(&["get", "ds", "exporter"]).await;
    assert_eq!(
        String::from_utf8_lossy(&gone.stderr),
        "Error from server (NotFound): daemonsets.apps \"exporter\" not found\n"
    );
    server.running.stop().await;
}
