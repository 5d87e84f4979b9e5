//! containerd goes and comes; containers run on.

use futures::StreamExt as _;
use leasehold::containerd::{RuntimeError, RuntimeEvent, State};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bed::{Bed, alive, connected, next_exit, within};

#[tokio::test]
async fn containers_outlive_a_containerd_that_is_killed_and_their_ends_are_known() {
    let Some(mut bed) = Bed::start().await else { return };
    let mut events = bed.events().await;
    let lasting = bed.request(&["sleep", "1000"]).await;
    let ending = bed.request(&["sleep", "1000"]).await;
    let (lasting_pid, ending_pid) = (bed.run(&lasting).await, bed.run(&ending).await);

    bed.containerd.kill();
    within("the news", async {
        while !matches!(events.next().await, Some(RuntimeEvent::Disconnected { .. })) {}
    })
    .await;
    let error = bed.runtime.list().await.expect_err("nobody answers");
    assert!(matches!(&error, RuntimeError::Unavailable(why) if why.contains("c.sock")), "{error}");
    assert!(alive(lasting_pid));
    kill(Pid::from_raw(ending_pid as i32), Signal::SIGKILL).expect("it runs");

    bed.containerd.boot();
    connected(&mut events).await;
    let listed = bed.runtime.list().await.expect("listed by the same handle");
    for container in &listed {
        if container.id == lasting.id {
            assert_eq!(container.state, State::Running { pid: lasting_pid });
        } else {
            assert!(matches!(container.state, State::Exited { code: 137, .. }), "{container:?}");
        }
    }
    assert_eq!((listed.len(), alive(lasting_pid)), (2, true));

    bed.runtime.kill(&lasting.id, 9, false).await.expect("sent");
    let exit = next_exit(&mut events, &lasting.id).await;
    assert_eq!((exit.code, exit.pid), (137, lasting_pid));
    for id in [&lasting.id, &ending.id] {
        bed.runtime.remove(id).await.expect("removed");
    }
}

#[tokio::test]
async fn a_runtime_without_a_containerd_says_so_once_and_connects_when_it_comes() {
    let Some(mut bed) = Bed::start().await else { return };
    bed.containerd.kill();
    let runtime = leasehold::containerd::Runtime::new(&bed.containerd.address(), "later").expect("valid");
    let mut events = runtime.events();
    let first = within("the news", events.next()).await.expect("the stream lasts");
    assert!(matches!(first, RuntimeEvent::Disconnected { .. }), "{first:?}");
    bed.containerd.boot();
    let second = within("the connection", events.next()).await.expect("the stream lasts");
    assert_eq!(second, RuntimeEvent::Connected);
    assert!(runtime.version().await.expect("answered").starts_with(char::is_numeric));
}

#[tokio::test]
async fn a_task_whose_shim_is_dead_is_told_as_ended_or_lost() {
    let Some(mut bed) = Bed::start().await else { return };
    let request = bed.request(&["sleep", "1000"]).await;
    let pid = bed.run(&request).await;
    // The time of the start is written in the background, and tells this task from one never started.
    while bed.runtime.list().await.expect("listed")[0].started_at.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    bed.containerd.kill();
    for shim in bed.shims() {
        kill(Pid::from_raw(shim as i32), Signal::SIGKILL).expect("it runs");
    }
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("it runs");
    bed.containerd.boot();
    let mut events = bed.runtime.events();
    connected(&mut events).await;
    let listed = bed.runtime.list().await.expect("listed");
    assert_eq!(listed.len(), 1);
    assert!(matches!(listed[0].state, State::Lost | State::Exited { .. }), "{listed:?}");
    bed.runtime.remove(&request.id).await.expect("removed");
    assert_eq!(bed.runtime.list().await.expect("listed"), []);
}
