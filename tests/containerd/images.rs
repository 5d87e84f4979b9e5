//! Images out of files, and what containerd's garbage collector does to them.

use std::fs;

use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{CreateRequest as CreateLease, DeleteRequest as DeleteLease};
use containerd_client::tonic::Request;
use containerd_client::with_namespace;
use leasehold::containerd::{FindError, ImportError, Progress, RuntimeError, State};
use serde_json::json;

use crate::bed::{BUSYBOX, Bed, Extra, quiet};
use crate::support::{TestImage, digest_of};

/// Has containerd collect its garbage, and waits until it has.
pub async fn collect_garbage(bed: &Bed) {
    let channel = containerd_client::connect(bed.containerd.address()).await.expect("connected");
    let mut leases = LeasesClient::new(channel);
    let namespace = bed.containerd.namespace();
    let create = CreateLease { id: "garbage".into(), ..CreateLease::default() };
    leases.create(with_namespace!(create, namespace)).await.expect("created");
    let delete = DeleteLease { id: "garbage".into(), sync: true };
    leases.delete(with_namespace!(delete, namespace)).await.expect("deleted");
}

fn blobs(bed: &Bed) -> usize {
    let dir = bed.containerd.root().join("io.containerd.content.v1.content/blobs/sha256");
    fs::read_dir(dir).expect("there").count()
}

#[tokio::test]
async fn the_garbage_collector_takes_no_imported_image_and_all_of_a_removed_one() {
    let Some(bed) = Bed::start().await else { return };
    collect_garbage(&bed).await;
    assert_eq!(blobs(&bed), 3, "manifest, config, layer");
    assert_eq!(bed.says("echo here", json!({}), json!({}), Extra::default()).await, "here");
    let found =
        bed.runtime.find_image("busybox:1").await.expect("looked up").expect("found by its short name");
    assert_eq!(found.names[0], BUSYBOX);
    assert_eq!(found.id(), format!("docker.io/library/busybox@{}", found.digest));

    bed.runtime.remove_image("busybox:1").await.expect("removed");
    assert_eq!(bed.runtime.find_image("busybox:1").await.expect("looked up"), None);
    assert_eq!(bed.runtime.images().await.expect("listed"), []);
    collect_garbage(&bed).await;
    assert_eq!(blobs(&bed), 0);
    let error = bed.runtime.remove_image("busybox:1").await.expect_err("it is gone");
    assert!(matches!(error, FindError::Runtime(RuntimeError::NotFound(_))), "{error}");
}

#[tokio::test]
async fn a_running_container_keeps_its_files_when_its_image_is_removed() {
    let Some(bed) = Bed::start().await else { return };
    let (request, _) = bed
        .build(
            &["sh", "-c", "sleep 0.3; ls / | wc -l; cat /etc/group | wc -l"],
            json!({}),
            json!({}),
            Extra::default(),
        )
        .await;
    let (output, ()) = tokio::join!(bed.output(&request), async {
        let begun = |state: &State| matches!(state, State::Running { .. } | State::Exited { .. });
        while !bed.runtime.list().await.expect("listed").iter().any(|container| begun(&container.state)) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        bed.runtime.remove_image(BUSYBOX).await.expect("removed");
        collect_garbage(&bed).await;
    });
    assert_eq!(output, (0, "11\n4\n".into()));
}

#[tokio::test]
async fn one_image_has_many_names_and_stays_until_the_last_is_removed() {
    let Some(bed) = Bed::start().await else { return };
    let archive = bed.containerd.scratch("images").join("busybox.tar");
    bed.runtime.import(&archive, Some("busybox:two"), &quiet).await.expect("imported under another name");
    let images = bed.runtime.images().await.expect("listed");
    assert_eq!(images.len(), 1);
    let by_digest = format!("docker.io/library/busybox@{}", images[0].digest);
    assert_eq!(images[0].names, [BUSYBOX, "docker.io/library/busybox:two", &by_digest]);
    bed.runtime.remove_image(BUSYBOX).await.expect("removed");
    assert!(bed.runtime.find_image(&by_digest).await.expect("looked up").is_some());
    bed.runtime.remove_image("busybox:two").await.expect("removed");
    assert!(bed.runtime.find_image(&by_digest).await.expect("looked up").is_none());
}

#[tokio::test]
async fn what_docker_saves_is_imported_and_layers_lie_over_each_other() {
    let Some(mut bed) = Bed::start().await else { return };
    let image = TestImage::busybox("example.org/app:1")
        .with("Entrypoint", json!(["cat"]))
        .with_file("etc/motd", 0o644, b"below")
        .with_file("etc/motd", 0o600, b"above");
    let archive = bed.containerd.scratch("images").join("saved.tar");
    image.write_docker_archive(&archive);
    let told = std::sync::Mutex::new(Vec::new());
    let imported =
        bed.runtime.import(&archive, None, &|progress| told.lock().expect("whole").push(progress)).await;
    bed.image = imported.expect("imported").remove(0);
    assert_eq!(
        (bed.image.names[0].as_str(), &bed.image.config.entrypoint[..]),
        ("example.org/app:1", &["cat".to_owned()][..])
    );
    assert_eq!(
        bed.says("cat /etc/motd; stat -c %a /etc/motd", json!({}), json!({}), Extra::default()).await,
        "above600"
    );
    let told = told.into_inner().expect("whole");
    assert!(matches!(&told[0], Progress::Resolved { name, .. } if name == "example.org/app:1"), "{told:?}");
    assert_eq!(told.last(), Some(&Progress::Unpacked { layer: 2, layers: 3 }));
}

#[tokio::test]
async fn a_file_that_is_no_whole_image_is_refused_by_name() {
    let Some(bed) = Bed::start().await else { return };
    let dir = bed.containerd.scratch("broken");
    let whole = bed.containerd.scratch("images").join("busybox.tar");
    let bytes = fs::read(&whole).expect("readable");
    // What is here already is not read again.
    bed.runtime.remove_image(BUSYBOX).await.expect("removed");
    collect_garbage(&bed).await;

    fs::write(dir.join("truncated"), &bytes[..bytes.len() / 2]).expect("writable");
    fs::write(dir.join("empty"), b"").expect("writable");
    fs::write(dir.join("text"), "hello\n".repeat(300)).expect("writable");
    fs::write(dir.join("gzip"), [0x1f, 0x8b, 8, 0, 0, 0]).expect("writable");
    let mut spoiled = bytes.clone();
    // The layer is the largest blob: a byte in the middle of the file is its.
    let middle = spoiled.len() / 2;
    spoiled[middle] ^= 0xff;
    fs::write(dir.join("spoiled"), spoiled).expect("writable");
    let mut other = tar::Builder::new(fs::File::create(dir.join("other")).expect("creatable"));
    other.append_path_with_name("Cargo.toml", "Cargo.toml").expect("writable");
    other.finish().expect("writable");
    let mut unnamed = TestImage::busybox("latest");
    unnamed.reference = "not a name".into();
    unnamed.write_oci_archive(&dir.join("unnamed"));

    for (file, expected) in [
        ("truncated", "truncated: it is truncated"),
        ("empty", "no tar archive"),
        ("text", "text: "),
        ("gzip", "gunzip"),
        ("spoiled", "unexpected commit digest"),
        ("other", "neither index.json"),
        ("missing", "No such file"),
        ("unnamed", "\"not a name\""),
    ] {
        let error = bed.runtime.import(&dir.join(file), None, &quiet).await.expect_err(file);
        let text = error.to_string();
        assert!(text.contains(expected), "{file}: {text}");
        let names_file = matches!(error, ImportError::Unreadable { .. } | ImportError::Invalid { .. });
        assert!(
            file == "unnamed" || (names_file && text.contains(&*dir.join(file).to_string_lossy())),
            "{text}"
        );
    }
    collect_garbage(&bed).await;
    assert_eq!(
        (bed.runtime.images().await.expect("listed").len(), blobs(&bed)),
        (0, 0),
        "nothing of them is left"
    );
}

#[tokio::test]
async fn an_image_that_another_tool_brought_is_unpacked_when_it_is_looked_for() {
    let Some(bed) = Bed::start().await else { return };
    bed.runtime.remove_image(BUSYBOX).await.expect("removed");
    collect_garbage(&bed).await;
    let archive = bed.containerd.scratch("images").join("busybox.tar");
    let output = std::process::Command::new("ctr")
        .arg("-a")
        .arg(bed.containerd.address())
        .args(["-n", bed.containerd.namespace(), "images", "import", "--no-unpack"])
        .arg(&archive)
        .output();
    let Ok(output) = output else { return eprintln!("skipped: ctr is not installed") };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest = TestImage::busybox(BUSYBOX).blobs().manifest;
    let found = bed.runtime.find_image(BUSYBOX).await.expect("looked up").expect("found");
    assert_eq!(found.digest, digest_of(&manifest));
    collect_garbage(&bed).await;
    assert_eq!(bed.says("echo runs", json!({}), json!({}), Extra::default()).await, "runs");
}
