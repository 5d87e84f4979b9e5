//! The containerd room against a real, private containerd.

mod support;

use support::{Containerd, TestImage};

#[test]
fn a_private_containerd_starts_and_cleans_up() {
    let Some(mut containerd) = Containerd::start() else { return };
    let archive = containerd.scratch("images").join("busybox.tar");
    TestImage::busybox("docker.io/library/busybox:1").write_oci_archive(&archive);
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new("ctr")
            .arg("-a")
            .arg(containerd.address())
            .args(["-n", containerd.namespace()])
            .args(arguments)
            .output()
            .expect("ctr runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    run(&["images", "import", archive.to_str().expect("UTF-8")]);
    run(&["run", "-d", "docker.io/library/busybox:1", "one", "sleep", "1000"]);
    let pid = run(&["tasks", "ls"]).split_whitespace().nth(4).expect("a pid").to_owned();
    assert!(std::path::Path::new("/proc").join(&pid).exists());
    containerd.kill();
    containerd.boot();
    let address = containerd.address();
    drop(containerd);
    assert!(!std::path::Path::new("/proc").join(&pid).exists(), "container {pid} lives on");
    assert!(!address.parent().expect("a directory").exists());
}
