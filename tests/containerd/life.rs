//! Containers from their making to the last trace gone.

use std::path::Path;

use containerd_client::services::v1::CreateTaskRequest;
use containerd_client::services::v1::snapshots::MountsRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::tonic::Request;
use containerd_client::with_namespace;
use futures::StreamExt as _;
use leasehold::containerd::spec::{Namespaces, PidNamespace};
use leasehold::containerd::{ExecId, RuntimeError, RuntimeEvent, State, Stdio};
use serde_json::json;

use crate::bed::{Bed, Extra, alive, next_exit, now, within};
use crate::support::unique;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

#[tokio::test]
async fn an_imported_image_runs_and_its_exit_is_told_with_its_code() {
    let Some(bed) = Bed::start().await else { return };
    let mut events = bed.events().await;
    let request = bed.request(&["sh", "-c", "exit 7"]).await;
    let pid = bed.run(&request).await;
    let exit = next_exit(&mut events, &request.id).await;
    assert_eq!((exit.code, exit.pid, exit.exec_id), (7, pid, None));
    // The time of the start is written down behind it.
    let listed = within("the time of the start", async {
        loop {
            let listed = bed.runtime.list().await.expect("listed");
            if listed.iter().all(|container| container.started_at.is_some()) {
                return listed;
            }
        }
    })
    .await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].state, State::Exited { code: 7, at: exit.at });
    assert_eq!(listed[0].labels, request.labels);
    bed.runtime.remove(&request.id).await.expect("removed");
    assert_eq!(bed.runtime.list().await.expect("listed"), []);
}

#[tokio::test]
async fn a_signal_ends_a_container_with_its_number_in_the_code() {
    let Some(bed) = Bed::start().await else { return };
    let mut events = bed.events().await;
    for (script, signal, code) in
        [("trap 'exit 3' TERM; sleep 1000 & wait", SIGTERM, 3), ("sleep 1000 & wait", SIGKILL, 137)]
    {
        let request = bed.request(&["sh", "-c", script]).await;
        bed.run(&request).await;
        // The shell must have set its trap before the signal comes.
        within("the trap", async {
            while processes(&bed, &request.id) < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        bed.runtime.kill(&request.id, signal, false).await.expect("sent");
        assert_eq!(next_exit(&mut events, &request.id).await.code, code, "{script}");
        bed.runtime.kill(&request.id, SIGTERM, false).await.expect("a dead one is no error");
        bed.runtime.remove(&request.id).await.expect("removed");
        bed.runtime.kill(&request.id, SIGKILL, true).await.expect("one that is gone is no error");
    }
}

/// Processes in a container's cgroup.
fn processes(bed: &Bed, id: &str) -> usize {
    let below = format!("{}/{id}/cgroup.procs", bed.containerd.namespace());
    let trees = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(|tree| Path::new(tree).join(&below));
    let file = trees.into_iter().find(|file| file.exists());
    file.map_or(0, |file| std::fs::read_to_string(file).unwrap_or_default().lines().count())
}

#[tokio::test]
async fn a_kill_of_all_reaches_processes_that_the_first_one_left_behind() {
    let Some(bed) = Bed::start().await else { return };
    let mut events = bed.events().await;
    // With the node's pid namespace no kernel kills the rest when the first process ends.
    let extra = Extra {
        namespaces: Namespaces { pid: PidNamespace::Host, ..Namespaces::default() },
        ..Extra::default()
    };
    let args = ["sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000 & wait"];
    let (request, _) = bed.build(&args, json!({ "hostPID": true }), json!({}), extra).await;
    bed.run(&request).await;
    within("all sleeps", async {
        while processes(&bed, &request.id) < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bed.runtime.kill(&request.id, SIGKILL, true).await.expect("sent");
    next_exit(&mut events, &request.id).await;
    bed.runtime.remove(&request.id).await.expect("removed");
    assert_eq!(processes(&bed, &request.id), 0);
}

#[tokio::test]
async fn a_container_is_removed_from_every_state_and_twice() {
    let Some(bed) = Bed::start().await else { return };
    let mut events = bed.events().await;
    bed.runtime.remove("never-was").await.expect("nothing to do");

    let created = bed.request(&["true"]).await;
    bed.runtime.create(&created).await.expect("created");

    let half = bed.request(&["true"]).await;
    bed.runtime.create(&half).await.expect("created");
    make_task(&bed, &half.id).await;

    let running = bed.request(&["sleep", "1000"]).await;
    let pid = bed.run(&running).await;

    let exited = bed.request(&["true"]).await;
    bed.run(&exited).await;
    next_exit(&mut events, &exited.id).await;

    let states: Vec<State> = bed.runtime.list().await.expect("listed").into_iter().map(|c| c.state).collect();
    assert_eq!(states.iter().filter(|state| **state == State::Created).count(), 2, "{states:?}");
    for id in [&created.id, &half.id, &running.id, &exited.id] {
        bed.runtime.remove(id).await.expect("removed");
        bed.runtime.remove(id).await.expect("removed again");
    }
    assert!(!alive(pid));
    assert_eq!(bed.runtime.list().await.expect("listed"), []);
    assert_eq!(bed.shims(), [0; 0], "no shim is left");
}

/// What a crash between making and starting a task leaves.
async fn make_task(bed: &Bed, id: &str) {
    let channel = containerd_client::connect(bed.containerd.address()).await.expect("connected");
    let namespace = bed.containerd.namespace();
    let request = MountsRequest { snapshotter: "overlayfs".into(), key: id.into() };
    let answer = SnapshotsClient::new(channel.clone()).mounts(with_namespace!(request, namespace)).await;
    let rootfs = answer.expect("prepared").into_inner().mounts;
    let request = CreateTaskRequest { container_id: id.into(), rootfs, ..CreateTaskRequest::default() };
    TasksClient::new(channel).create(with_namespace!(request, namespace)).await.expect("made");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_and_leaves_nothing() {
    let Some(bed) = Bed::start().await else { return };
    let request = bed.request(&["/bin/nope"]).await;
    let created = bed.runtime.create(&request).await.expect("created");
    let error = bed.runtime.start(&created, &Stdio::default(), now()).await.expect_err("no such program");
    assert!(
        matches!(&error, RuntimeError::Refused(why) if why.contains("/bin/nope") && why.contains("no such file")),
        "{error}"
    );
    bed.runtime.remove(&request.id).await.expect("removed");
    assert_eq!((bed.runtime.list().await.expect("listed"), bed.shims()), (vec![], vec![]));
}

#[tokio::test]
async fn a_container_without_its_image_is_not_made() {
    let Some(bed) = Bed::start().await else { return };
    let mut request = bed.request(&["true"]).await;
    request.image.chain_id = format!("sha256:{}", "0".repeat(64));
    let error = bed.runtime.create(&request).await.expect_err("no such snapshot");
    assert!(matches!(error, RuntimeError::NotFound(_)), "{error}");
    assert_eq!(bed.runtime.list().await.expect("listed"), []);
}

#[tokio::test]
async fn one_shim_serves_a_pod() {
    let Some(bed) = Bed::start().await else { return };
    let mut events = bed.events().await;
    let pod_uid = unique("pod");
    let mut requests = Vec::new();
    for _ in 0..3 {
        let mut request = bed.request(&["sleep", "1000"]).await;
        request.pod_uid.clone_from(&pod_uid);
        requests.push(request);
    }
    // All at once: whoever comes second finds the first one's shim.
    let pids = futures::future::join_all(requests.iter().map(|request| bed.run(request))).await;
    assert_eq!(bed.shims().len(), 1);
    let other = bed.request(&["sleep", "1000"]).await;
    bed.run(&other).await;
    assert_eq!(bed.shims().len(), 2);
    bed.runtime.remove(&requests[0].id).await.expect("removed");
    assert_eq!((alive(pids[0]), alive(pids[1]), alive(pids[2])), (false, true, true));
    bed.runtime.kill(&requests[1].id, SIGKILL, false).await.expect("sent");
    assert_eq!(next_exit(&mut events, &requests[1].id).await.code, 137);
    for request in &requests[1..] {
        bed.runtime.remove(&request.id).await.expect("removed");
    }
    assert_eq!(bed.shims().len(), 1);
}

#[tokio::test]
async fn containers_of_one_pod_come_and_go_at_the_same_time() {
    let Some(bed) = Bed::start().await else { return };
    let pod_uid = unique("pod");
    let bed = &bed;
    let turns = (0..3).map(|_| {
        let pod_uid = pod_uid.clone();
        async move {
            for _ in 0..8 {
                let mut request = bed.request(&["true"]).await;
                request.pod_uid.clone_from(&pod_uid);
                let (code, _) = bed.output(&request).await;
                assert_eq!(code, 0);
            }
        }
    });
    within("24 containers", futures::future::join_all(turns)).await;
    assert_eq!(bed.runtime.list().await.expect("listed"), []);
    assert_eq!(bed.shims(), [0; 0]);
}

#[tokio::test]
async fn the_kernels_killing_for_memory_is_told() {
    let Some(bed) = Bed::start().await else { return };
    let mut events = bed.events().await;
    let limits = json!({ "resources": { "limits": { "memory": "16Mi" } } });
    let (request, _) = bed.build(&["tail", "/dev/zero"], json!({}), limits, Extra::default()).await;
    bed.run(&request).await;
    let (mut oom, mut code) = (false, None);
    within("both events", async {
        while !oom || code.is_none() {
            match events.next().await.expect("the stream lasts") {
                RuntimeEvent::Oom { id } => oom |= id == request.id,
                RuntimeEvent::Exited(exit) if exit.id == request.id => code = Some(exit.code),
                RuntimeEvent::Exited(_)
                | RuntimeEvent::ImagesChanged
                | RuntimeEvent::Connected
                | RuntimeEvent::Disconnected { .. } => {}
            }
        }
    })
    .await;
    assert_eq!(code, Some(137));
    bed.runtime.remove(&request.id).await.expect("removed");
}

#[tokio::test]
async fn a_further_process_runs_with_the_containers_rights_and_its_end_is_told() {
    let Some(bed) = Bed::start().await else { return };
    let mut events = bed.events().await;
    let own = json!({ "securityContext": { "runAsUser": 1000 } });
    let (request, _) = bed.build(&["sleep", "1000"], json!({}), own, Extra::default()).await;
    bed.run(&request).await;
    let id = ExecId { container: request.id.clone(), exec: "e1".into() };
    let args = ["sh", "-c", "exit $(id -u | head -c 1)2"].map(str::to_owned).to_vec();
    bed.runtime.exec(&id, args, &Stdio::default(), None).await.expect("started");
    let exit = next_exit(&mut events, &request.id).await;
    assert_eq!((exit.exec_id.as_deref(), exit.code), (Some("e1"), 12));
    bed.runtime.delete_exec(&id).await.expect("deleted");
    bed.runtime.delete_exec(&id).await.expect("deleted again");
    let nope = ExecId { exec: "e2".into(), ..id };
    let error =
        bed.runtime.exec(&nope, vec!["nope".into()], &Stdio::default(), None).await.expect_err("no program");
    assert!(error.to_string().contains("nope"), "{error}");
    bed.runtime.remove(&request.id).await.expect("removed");
}

#[test]
fn a_private_containerd_leaves_nothing_behind() {
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let Some(bed) = tokio.block_on(Bed::start()) else { return };
    let pid = tokio.block_on(async { bed.run(&bed.request(&["sleep", "1000"]).await).await });
    assert!(alive(pid));
    let address = bed.containerd.address();
    drop(bed);
    assert!(!alive(pid), "container {pid} lives on");
    assert!(!address.parent().expect("a directory").exists());
}
