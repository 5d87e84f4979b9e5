//! A client inside a Pod talks to the endpoint: with the token, the authority and the address that it finds there.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::path::Path;
use std::process::Command;

use support::{TestImage, Up};

const CURL: &str = "example.test/curl:1";

/// The machine's curl with the libraries it needs.
fn curl() -> Option<TestImage> {
    let curl = Path::new("/usr/bin/curl");
    let listed = Command::new("ldd").arg(curl).output().ok()?;
    if !listed.status.success() {
        eprintln!("skipped: curl is not installed");
        return None;
    }
    let mut image = TestImage::busybox(CURL).with_file("usr/bin/curl", 0o755, &std::fs::read(curl).ok()?);
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let path = line.split("=>").last().unwrap_or(line).split_whitespace().next().unwrap_or_default();
        if path.starts_with('/') {
            image = image.with_file(path.trim_start_matches('/'), 0o755, &std::fs::read(path).ok()?);
        }
    }
    Some(image)
}

fn daemon_set() -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {{ name: client }}
spec:
  selector: {{ matchLabels: {{ app: client }} }}
  template:
    metadata: {{ labels: {{ app: client }} }}
    spec:
      terminationGracePeriodSeconds: 1
      hostNetwork: true
      containers: [{{ name: main, image: "{CURL}", command: [sleep, infinity] }}]
"#
    )
}

const GRANT: &str = r"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: reader }
rules: [{ apiGroups: [''], resources: [pods], verbs: [list] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: reader }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader }
subjects: [{ kind: ServiceAccount, name: default, namespace: default }]
";

#[test]
fn a_client_in_a_pod_is_known_by_its_token_and_may_do_what_its_account_may() {
    let Some(image) = curl() else { return };
    let Some(up) = Up::start(&[]) else { return };
    let archive = up.dir.join("curl.tar");
    image.write_oci_archive(&archive);
    up.import(&archive);
    up.apply(&daemon_set());
    let pod = up.running("app=client");
    let name = pod["metadata"]["name"].as_str().expect("named").to_owned();
    let dir = "/var/run/secrets/kubernetes.io/serviceaccount";
    let ask = format!(
        "cd {dir}; /usr/bin/curl -sS --cacert ca.crt -H \"Authorization: Bearer $(cat token)\" \
         https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT_HTTPS/api/v1/namespaces/$(cat namespace)/pods"
    );
    let ask = || up.ok(&["exec", &name, "--", "sh", "-c", &ask]);
    let answer = up.until("the token is there and good", || {
        let answer = ask();
        answer.contains("system:serviceaccount:default:default").then_some(answer)
    });
    assert!(answer.contains("Forbidden"), "{answer}");
    up.apply(GRANT);
    let listed = up.until("the account may list Pods", || {
        let answer = ask();
        answer.contains("PodList").then_some(answer)
    });
    assert!(listed.contains(&name), "{listed}");
    let mode = up.ok(&[
        "exec",
        &name,
        "--",
        "sh",
        "-c",
        &format!("stat -L -c %a {dir}/token; mount | grep -c {dir}"),
    ]);
    assert_eq!(
        mode.split_whitespace().collect::<Vec<_>>(),
        ["644", "1"],
        "readable, and on a mount of its own"
    );
    let kept = Command::new("grep")
        .args(["-rl", "eyJhbGci"])
        .args([up.dir.join("state/agent/cache"), up.dir.join("state/agent/hosted")])
        .output()
        .expect("grep runs");
    assert!(kept.stdout.is_empty(), "no token is kept on disk: {}", String::from_utf8_lossy(&kept.stdout));
}
