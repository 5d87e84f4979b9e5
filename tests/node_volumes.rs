//! Volumes that an image declares.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::path::PathBuf;

use support::{TestImage, Up, pod_manifest};

/// Below the agent's data, the directories of images' volumes.
fn kept(up: &Up) -> Vec<PathBuf> {
    let pods = up.dir.join("state/agent/pods");
    let dirs =
        std::fs::read_dir(pods).into_iter().flatten().flatten().map(|pod| pod.path().join("image-volumes"));
    dirs.flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten())
        .map(|run| run.path())
        .collect()
}

#[test]
fn what_an_image_declares_as_a_volume_is_writable_begins_as_in_the_image_and_goes_with_the_container() {
    let Some(up) = Up::start(&[]) else { return };
    let volumes = serde_json::json!({ "/home/app": {}, "/var/new": {} });
    let image = TestImage::busybox("example.test/volumes:1")
        .with_file("home/app/first", 0o640, b"from the image")
        .with("Volumes", volumes);
    let archive = up.dir.join("volumes.tar");
    image.write_oci_archive(&archive);
    up.import(&archive);
    let command = "[sh, -c, 'cat /home/app/first; echo; stat -c %a /home/app/first; cat /home/app/mine; echo x > /home/app/mine; echo y > /var/new/y && echo written; touch /etc/no || echo refused; sleep 2; exit 1']";
    let pod = pod_manifest("app", "example.test/volumes:1", command);
    up.apply(&pod.replace("command:", "securityContext: { readOnlyRootFilesystem: true }, command:"));
    up.until("a second run", || {
        let pod = up.json(&["get", "pod", "app"]);
        (pod["status"]["containerStatuses"][0]["restartCount"].as_u64()? > 0).then_some(())
    });
    let logs = up.until("its log", || {
        let logs = up.ok(&["logs", "app"]);
        logs.contains("refused").then_some(logs)
    });
    for part in ["from the image\n640\n", "can't open '/home/app/mine'", "written\n", "refused"] {
        assert!(logs.contains(part), "{part}: {logs}");
    }
    assert!(kept(&up).len() <= 2, "one a run that is not removed yet: {:?}", kept(&up));
    up.ok(&["delete", "pod", "app"]);
    up.until("nothing is left", || kept(&up).is_empty().then_some(()));
}
