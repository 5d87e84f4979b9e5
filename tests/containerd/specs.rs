//! What a container finds itself in.

use std::fs;
use std::path::{Path, PathBuf};

use leasehold::containerd::spec::{Bind, Device, Namespaces, PidNamespace};
use leasehold::network::namespaces::{Kind, Wanted, pin, pin_path, unpin};
use serde_json::json;

use crate::bed::{Bed, Extra};
use crate::support::TestImage;

#[tokio::test]
async fn a_container_runs_as_the_images_user_by_name_with_its_groups() {
    let Some(mut bed) = Bed::start().await else { return };
    let image = TestImage::busybox("docker.io/library/app:1").with("User", json!("app"));
    bed.image = bed.import(&image.with_file("etc/motd", 0o644, b"hello")).await;
    let said = bed.says("id; cat /etc/motd", json!({}), json!({}), Extra::default()).await;
    assert_eq!(said, "uid=1000(app) gid=2000(app) groups=2000(app),3000(extra)\nhello");
    let pod = json!({ "securityContext": { "runAsUser": 7, "runAsGroup": 8, "fsGroup": 9 } });
    assert_eq!(bed.says("id", pod, json!({}), Extra::default()).await, "uid=7 gid=8 groups=8,9");
}

#[tokio::test]
async fn a_container_has_the_capabilities_it_asks_for_and_no_more() {
    let Some(bed) = Bed::start().await else { return };
    let script = "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status";
    let own = json!({ "securityContext": {
        "allowPrivilegeEscalation": false, "seccompProfile": { "type": "RuntimeDefault" },
        "capabilities": { "add": ["NET_BIND_SERVICE"], "drop": ["ALL"] },
    } });
    let said = bed.says(script, json!({}), own, Extra::default()).await;
    let only = "0000000000000400";
    let none = "0000000000000000";
    let expected = format!(
        "CapInh:\t{none}\nCapPrm:\t{only}\nCapEff:\t{only}\nCapBnd:\t{only}\nCapAmb:\t{none}\nNoNewPrivs:\t1\nSeccomp:\t2"
    );
    assert_eq!(said, expected);

    let said = bed.says(script, json!({}), json!({}), Extra::default()).await;
    let default = "00000000a80425fb";
    assert!(said.contains(&format!("CapBnd:\t{default}")) && said.contains("Seccomp:\t0"), "{said}");

    let own = json!({ "securityContext": { "privileged": true } });
    let said = bed.says(script, json!({}), own, Extra::default()).await;
    let node = fs::read_to_string("/proc/self/status").expect("readable");
    let bounding = node.lines().find(|line| line.starts_with("CapBnd")).expect("there");
    assert!(said.contains(bounding), "{said}");
}

#[tokio::test]
async fn the_default_profile_lets_programs_run_and_stops_what_it_should() {
    let Some(bed) = Bed::start().await else { return };
    let own = json!({ "securityContext": {
        "seccompProfile": { "type": "RuntimeDefault" }, "capabilities": { "add": ["SYS_ADMIN"] },
    } });
    let weak = json!({ "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } } });
    let work = "mkdir /tmp/d && echo x > /tmp/d/f && ln /tmp/d/f /tmp/d/g && cat /tmp/d/g | sed s/x/y/; \
                (sleep 0.01 & wait); seq 3 | awk '{ n += $1 } END { print n }'; date +%s > /dev/null; ps > /dev/null";
    assert_eq!(bed.says(work, json!({}), weak.clone(), Extra::default()).await, "y\n6");
    let unshare = "busybox unshare -m true && echo could || echo could not";
    assert!(bed.says(unshare, json!({}), weak, Extra::default()).await.ends_with("could not"));
    assert_eq!(bed.says(unshare, json!({}), own, Extra::default()).await, "could");
}

#[tokio::test]
async fn a_read_only_root_and_read_only_mounts_refuse_writes() {
    let Some(bed) = Bed::start().await else { return };
    let shared = bed.containerd.scratch("shared");
    let bind = |destination: &str, read_only| Bind {
        source: shared.clone(),
        destination: PathBuf::from(destination),
        read_only,
        ..Bind::default()
    };
    let own = json!({ "securityContext": { "readOnlyRootFilesystem": true } });
    let script = "touch /x || echo root; touch /ro/x || echo ro; touch /rw/x && echo rw; touch /sys/x || echo sys; \
                  touch /dev/x && echo dev; ls /ro";
    let extra = Extra { mounts: vec![bind("/ro", true), bind("/rw", false)], ..Extra::default() };
    let said = bed.says(&format!("({script}) 2>/dev/null"), json!({}), own, extra).await;
    assert_eq!(said, "root\nro\nrw\nsys\ndev\nx");
    assert!(shared.join("x").exists());
}

#[tokio::test]
async fn limits_are_in_the_containers_own_cgroup() {
    let Some(bed) = Bed::start().await else { return };
    let own = json!({ "resources": { "requests": { "cpu": "250m" }, "limits": { "cpu": "500m", "memory": "64Mi" } } });
    let script = "cd /sys/fs/cgroup; if [ -e memory.max ]; then cat memory.max cpu.max; \
                  else cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares; fi; cat /proc/self/oom_score_adj";
    let said = bed.says(script, json!({}), own, Extra::default()).await;
    let lines: Vec<&str> = said.lines().collect();
    let (score, limits) = lines.split_last().expect("lines");
    if limits.len() == 2 {
        assert_eq!(limits, ["67108864", "50000 100000"]);
    } else {
        assert_eq!(limits, ["67108864", "50000", "256"]);
    }
    assert!((900..1000).contains(&score.parse::<i32>().expect("a number")), "{score}");
}

#[tokio::test]
async fn a_score_that_the_kernel_refuses_does_not_stop_the_container() {
    let Some(bed) = Bed::start().await else { return };
    let amounts = json!({ "cpu": "100m", "memory": "32Mi" });
    let own = json!({ "resources": { "requests": amounts, "limits": amounts } });
    let args = ["cat", "/proc/self/oom_score_adj"];
    let (request, built) = bed.build(&args, json!({}), own, Extra::default()).await;
    let (code, said) = bed.output(&request).await;
    assert_eq!(code, 0, "{said}");
    let score: i32 = said.trim().parse().expect("a number");
    assert_eq!(score == -997, built.warnings.is_empty(), "{score} {:?}", built.warnings);
}

#[tokio::test]
async fn a_container_joins_the_pods_pinned_namespaces() {
    let Some(bed) = Bed::start().await else { return };
    let pins = bed.containerd.scratch("pins");
    let wanted = Wanted {
        kinds: Kind::ALL.to_vec(),
        host_name: "pod-a".into(),
        sysctls: Vec::new(),
        allowed_sysctls: Vec::new(),
    };
    pin(&pins, &wanted).expect("pinned");
    let at = |kind| Some(pin_path(&pins, kind));
    let namespaces =
        Namespaces { net: at(Kind::Net), ipc: at(Kind::Ipc), uts: at(Kind::Uts), pid: PidNamespace::Own };
    let extra = Extra { namespaces, ..Extra::default() };
    let said = bed.says("hostname; ls /sys/class/net; echo $$", json!({}), json!({}), extra).await;
    unpin(&pins).expect("unpinned");
    assert_eq!(said, "pod-a\nlo\n1");
}

#[tokio::test]
async fn a_second_container_sees_the_processes_of_the_first_whose_namespace_it_joins() {
    let Some(bed) = Bed::start().await else { return };
    let first = bed.request(&["sleep", "4321"]).await;
    let pid = bed.run(&first).await;
    let path = Path::new("/proc").join(pid.to_string()).join("ns/pid");
    let namespaces = Namespaces { pid: PidNamespace::Join(path), ..Namespaces::default() };
    let said = bed.says("ps", json!({}), json!({}), Extra { namespaces, ..Extra::default() }).await;
    assert!(said.contains("sleep 4321"), "{said}");
    bed.runtime.remove(&first.id).await.expect("removed");
}

#[tokio::test]
async fn devices_are_given_by_name_and_all_to_the_privileged() {
    let Some(bed) = Bed::start().await else { return };
    let device = |permissions: &str| Extra {
        devices: vec![Device {
            node_path: "/dev/zero".into(),
            path: "/dev/given".into(),
            permissions: permissions.into(),
        }],
        ..Extra::default()
    };
    let read = "head -c 3 /dev/given | wc -c";
    assert_eq!(bed.says(read, json!({}), json!({}), device("r")).await, "3");
    let privileged = json!({ "securityContext": { "privileged": true } });
    let said = bed.says("ls /dev", json!({}), privileged, Extra::default()).await;
    for name in ["kmsg", "loop-control", "net"] {
        if Path::new("/dev").join(name).exists() {
            assert!(said.lines().any(|line| line == name), "{name} in {said}");
        }
    }
}

#[tokio::test]
async fn what_the_kernel_tells_about_the_node_is_masked() {
    let Some(bed) = Bed::start().await else { return };
    let script = "head -c 1 /proc/kcore 2>/dev/null | wc -c; echo 1 > /proc/sys/kernel/panic || echo refused";
    let said = bed.says(&format!("({script}) 2>/dev/null"), json!({}), json!({}), Extra::default()).await;
    assert_eq!(said, "0\nrefused");
}
