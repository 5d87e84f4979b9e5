use oci_spec::runtime::Capability;
use serde_json::{Value, json};

use super::*;

const ACCOUNTS: (&str, &str) = (
    "root:x:0:0::/:/bin/sh\napp:x:1000:2000::/:/bin/sh\n",
    "root:x:0:\napp:x:2000:\nextra:x:3000:app,root\n",
);

/// Builds the first container of a Pod whose spec and container have these members too.
fn made(image: Value, pod: Value, container: Value, host: &Host) -> Result<Built, SpecError> {
    let mut container = container;
    container["name"] = "main".into();
    let mut spec = pod;
    spec["containers"] = json!([container]);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "pod", "namespace": "default", "uid": "u" }, "spec": spec,
    }))
    .expect("a Pod");
    let request = SpecRequest {
        pod: &pod,
        container: &pod.spec.as_ref().expect("a spec").containers[0],
        image: &serde_json::from_value(image).expect("an image config"),
        accounts: &Accounts::parse(ACCOUNTS.0, ACCOUNTS.1),
        args: vec!["sh".into()],
        env: vec![("A".into(), "b=c".into())],
        mounts: Vec::new(),
        namespaces: Namespaces { net: Some("/pins/net".into()), ..Namespaces::default() },
        cgroups_path: "/leasehold/podu/id".into(),
        devices: Vec::new(),
        host,
    };
    build(&request)
}

fn plain(pod: Value, container: Value) -> Spec {
    made(json!({}), pod, container, &Host::default()).expect("a spec").spec
}

fn process(spec: &Spec) -> &Process {
    spec.process().as_ref().expect("a process")
}

fn linux(spec: &Spec) -> &Linux {
    spec.linux().as_ref().expect("a linux part")
}

/// uid, gid, supplementary groups.
fn user(image_user: &str, pod: &Value, own: &Value) -> Result<(u32, u32, Vec<u32>), SpecError> {
    let pod = json!({ "securityContext": pod });
    let built =
        made(json!({ "User": image_user }), pod, json!({ "securityContext": own }), &Host::default())?;
    let user = process(&built.spec).user().clone();
    Ok((user.uid(), user.gid(), user.additional_gids().clone().unwrap_or_default()))
}

#[test]
fn the_user_comes_from_the_pod_then_from_the_image() {
    let none = || json!({});
    for (image, pod, own, expected) in [
        ("", none(), none(), (0, 0, vec![0, 3000])),
        ("app", none(), none(), (1000, 2000, vec![2000, 3000])),
        ("1000", none(), none(), (1000, 2000, vec![2000, 3000])),
        ("5:6", none(), none(), (5, 6, vec![6])),
        ("app:extra", none(), none(), (1000, 3000, vec![3000])),
        ("app:extra", none(), json!({ "runAsUser": 7 }), (7, 0, vec![0])),
        ("app", json!({ "runAsUser": 8, "runAsGroup": 9 }), none(), (8, 9, vec![9])),
        ("app", json!({ "runAsUser": 8 }), json!({ "runAsUser": 1000 }), (1000, 2000, vec![2000, 3000])),
        ("", json!({ "fsGroup": 50, "supplementalGroups": [60, 50] }), none(), (0, 0, vec![0, 3000, 60, 50])),
        (
            "app",
            json!({ "supplementalGroupsPolicy": "Strict", "fsGroup": 5 }),
            none(),
            (1000, 2000, vec![2000, 5]),
        ),
    ] {
        assert_eq!(user(image, &pod, &own), Ok(expected), "{image:?} {pod} {own}");
    }
}

#[test]
fn users_that_cannot_be_are_refused_in_upstreams_words() {
    let non_root = || json!({ "runAsNonRoot": true });
    for (image, pod, own, expected) in [
        ("ghost", json!({}), json!({}), "unable to find user ghost: no matching entries in passwd file"),
        ("app:ghosts", json!({}), json!({}), "unable to find user ghosts: no matching entries in group file"),
        (
            "",
            non_root(),
            json!({}),
            "container has runAsNonRoot and image will run as root (pod: \"pod_default(u)\", container: main)",
        ),
        (
            "app",
            non_root(),
            json!({}),
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root (pod: \"pod_default(u)\", container: main)",
        ),
        (
            "1000",
            non_root(),
            json!({ "runAsUser": 0 }),
            "container's runAsUser breaks non-root policy (pod: \"pod_default(u)\", container: main)",
        ),
    ] {
        let error = user(image, &pod, &own).expect_err(expected);
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.is_config(), expected.contains("oot"));
    }
    assert!(user("1000", &non_root(), &json!({})).is_ok());
    assert!(user("", &non_root(), &json!({ "runAsNonRoot": false })).is_ok());
    assert!(user("", &non_root(), &json!({ "runAsUser": 5 })).is_ok());
}

#[test]
fn a_plain_container_is_confined() {
    let spec = plain(json!({}), json!({}));
    let process = process(&spec);
    assert_eq!(process.env().as_deref(), Some(&["A=b=c".to_owned()][..]));
    assert_eq!(process.cwd(), &PathBuf::from("/"));
    assert_eq!(process.no_new_privileges(), Some(false));
    assert!(process.rlimits().is_none());
    let linux = linux(&spec);
    assert!(linux.seccomp().is_none(), "unconfined is upstream's default");
    assert!(linux.masked_paths().as_ref().is_some_and(|paths| paths.contains(&"/proc/kcore".to_owned())));
    assert!(linux.readonly_paths().as_ref().is_some_and(|paths| paths.contains(&"/proc/sys".to_owned())));
    let kinds: Vec<_> = linux.namespaces().iter().flatten().map(LinuxNamespace::typ).collect();
    let expected = [
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Cgroup,
    ];
    assert_eq!(kinds, expected, "IPC and UTS are the node's here");
}

#[test]
fn a_privileged_container_is_not() {
    let spec = plain(
        json!({ "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } } }),
        json!({ "securityContext": { "privileged": true } }),
    );
    let linux = linux(&spec);
    assert!(linux.seccomp().is_none() && linux.masked_paths().is_none() && linux.readonly_paths().is_none());
    let bounding = process(&spec).capabilities().as_ref().and_then(|c| c.bounding().clone()).expect("a set");
    assert_eq!(bounding.len(), 41);
    let sys = spec.mounts().iter().flatten().find(|mount| mount.destination() == "/sys").expect("mounted");
    assert!(sys.options().iter().flatten().any(|option| option == "rw"));
    assert!(linux.devices().iter().flatten().any(|device| device.path() == "/dev/null"));
    assert!(!linux.devices().iter().flatten().any(|device| device.path().starts_with("/dev/pts")));
}

#[test]
fn security_settings_reach_the_spec() {
    let spec = plain(
        json!({}),
        json!({ "tty": true, "workingDir": "/work", "securityContext": {
            "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "procMount": "Unmasked",
            "capabilities": { "add": ["NET_ADMIN"], "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        } }),
    );
    assert_eq!(spec.root().as_ref().and_then(Root::readonly), Some(true));
    let process = process(&spec);
    assert_eq!((process.terminal(), process.no_new_privileges()), (Some(true), Some(true)));
    assert_eq!(process.cwd(), &PathBuf::from("/work"));
    assert!(process.env().iter().flatten().any(|variable| variable == "TERM=xterm"));
    let set = process.capabilities().as_ref().expect("capabilities");
    assert_eq!(set.effective().as_ref(), Some(&[Capability::NetAdmin].into_iter().collect()));
    assert!(set.inheritable().is_none() && set.ambient().is_none());
    assert!(linux(&spec).masked_paths().is_none());
    assert!(linux(&spec).seccomp().is_some());
}

#[test]
fn a_score_the_kernel_would_refuse_is_raised_with_a_warning() {
    let host = Host { oom_score_adj_min: Some(0), ..Host::default() };
    let critical = json!({ "priorityClassName": "system-node-critical" });
    let built = made(json!({}), critical.clone(), json!({}), &host).expect("a spec");
    assert_eq!(process(&built.spec).oom_score_adj(), Some(0));
    assert_eq!(built.warnings, ["oom_score_adj is 0 instead of -997: CAP_SYS_RESOURCE is missing"]);
    assert_eq!(process(&plain(critical, json!({}))).oom_score_adj(), Some(-997));
}

#[test]
fn what_the_node_cannot_give_is_refused_by_field() {
    for (pod, container, expected) in [
        (json!({ "hostUsers": false }), json!({}), "spec.hostUsers: "),
        (
            json!({}),
            json!({ "securityContext": { "seccompProfile": { "type": "Localhost", "localhostProfile": "../x" } } }),
            "seccompProfile.localhostProfile: \"../x\": expected a relative path",
        ),
        (
            json!({}),
            json!({ "securityContext": { "appArmorProfile": { "type": "Localhost", "localhostProfile": "x" } } }),
            "securityContext.appArmorProfile: Cannot enforce AppArmor",
        ),
        (json!({}), json!({ "securityContext": { "runAsUser": -1 } }), "securityContext.runAsUser: -1"),
    ] {
        let error = made(json!({}), pod, container, &Host::default()).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_local_seccomp_profile_is_read_from_the_nodes_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let profile = r#"{ "defaultAction": "SCMP_ACT_LOG", "syscalls": [{ "names": ["chmod"], "action": "SCMP_ACT_ERRNO" }] }"#;
    std::fs::write(dir.path().join("audit.json"), profile).expect("writable");
    let host = Host { seccomp_profiles: dir.path().to_owned(), ..Host::default() };
    let with = |name: &str| {
        let profile = json!({ "type": "Localhost", "localhostProfile": name });
        made(json!({}), json!({ "securityContext": { "seccompProfile": profile } }), json!({}), &host)
    };
    let built = with("audit.json").expect("a spec");
    assert_eq!(
        linux(&built.spec).seccomp().as_ref().expect("a filter").syscalls().iter().flatten().count(),
        1
    );
    let error = with("none.json").expect_err("no such file").to_string();
    assert!(error.contains("none.json") && error.contains("No such file"), "{error}");
}
