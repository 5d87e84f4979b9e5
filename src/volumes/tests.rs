use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use serde_json::{Value, json};

use super::*;
use crate::agent::environment::Environment;

/// Ends a thread that looks at the flag, also when the test fails.
pub(super) struct EndsOnDrop<'a>(pub(super) &'a std::sync::atomic::AtomicBool);

impl Drop for EndsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A Pod's directory, emptied with all its mounts whatever happens.
struct Bed {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = mounts::unmount_below(self.dir.path());
    }
}

impl Bed {
    fn new() -> Self {
        let mut bed = Self { dir: tempfile::tempdir().unwrap(), sources: Sources::default() };
        bed.config(&json!({"a": "1", "b": "1"}));
        let secret = json!({"metadata": {"name": "s"}, "data": {"k": "cw=="}});
        bed.sources.secrets.insert("s".to_owned(), Some(Arc::new(serde_json::from_value(secret).unwrap())));
        bed.sources.config_maps.insert("gone".to_owned(), None);
        bed
    }

    fn config(&mut self, data: &Value) {
        let map = json!({"metadata": {"name": "c"}, "data": data});
        self.sources.config_maps.insert("c".to_owned(), Some(Arc::new(serde_json::from_value(map).unwrap())));
    }

    fn pod_dir(&self) -> PathBuf {
        self.dir.path().join("pods/u")
    }

    fn mount(&self, pod: &Pod) -> Result<BTreeMap<String, Mounted>, VolumesError> {
        mount(pod, &self.pod_dir(), &self.sources, &PodFacts::default())
    }
}

/// A Pod whose only container mounts every volume at `/<name>`, with `more` fields in each mount.
fn pod(volumes: &Value, more: &Value, group: Option<i64>) -> Pod {
    let mounts = volumes.as_array().unwrap().iter().map(|volume| {
        let mut mount = json!({"name": volume["name"], "mountPath": volume["name"]});
        mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        mount
    });
    let mounts: Vec<_> = mounts.collect();
    serde_json::from_value(json!({"metadata": {"name": "web", "uid": "u"}, "spec": {
        "securityContext": {"fsGroup": group}, "volumes": volumes,
        "containers": [{"name": "c", "volumeMounts": mounts}]}}))
    .unwrap()
}

fn container(pod: &Pod) -> &k8s_openapi::api::core::v1::Container {
    &pod.spec.as_ref().unwrap().containers[0]
}

fn all_volumes(host: &Path) -> Value {
    json!([
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "facts", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "mixed", "projected": {"sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "c"}}]}},
        {"name": "empty", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "none"}, {"name": "host", "hostPath": {"path": host, "type": "DirectoryOrCreate"}}])
}

#[test]
fn every_volume_type_is_mounted_where_it_belongs_and_all_go_with_the_pod() {
    let bed = Bed::new();
    let host = bed.dir.path().join("host");
    let pod = pod(&all_volumes(&host), &json!({}), Some(2000));
    let made = bed.mount(&pod).unwrap();
    let read = |volume: &str, file: &str| fs::read_to_string(made[volume].path.join(file)).unwrap();
    assert_eq!((read("config", "a"), read("secret", "k")), ("1".to_owned(), "s".to_owned()));
    assert_eq!((read("facts", "name"), read("mixed", "k")), ("web".to_owned(), "s".to_owned()));
    let in_memory = |name: &str| statfs(&made[name].path).unwrap().filesystem_type() == TMPFS_MAGIC;
    for (name, expected) in [("secret", true), ("mixed", true), ("facts", true), ("memory", true)] {
        assert_eq!(in_memory(name), expected, "{name}");
        assert_eq!(fs::metadata(&made[name].path).unwrap().gid(), 2000, "{name}");
    }
    assert!(!mounts::is_mount_point(&made["config"].path) && !mounts::is_mount_point(&made["empty"].path));
    let read_only: Vec<_> = made.iter().filter(|(_, v)| v.read_only).map(|(name, _)| name.as_str()).collect();
    assert_eq!(read_only, ["config", "facts", "mixed", "secret"]);
    assert_eq!(made["host"].path, host);
    fs::write(host.join("precious"), "x").unwrap();
    mounts::remove_tree(&bed.pod_dir()).unwrap();
    assert_eq!(mounts::below(bed.dir.path()).unwrap(), Vec::<PathBuf>::new());
    assert!(host.join("precious").exists() && !bed.pod_dir().exists());
}

#[test]
fn mounting_again_refreshes_contents_and_keeps_what_containers_wrote() {
    let mut bed = Bed::new();
    let pod = pod(
        &json!([{"name": "config", "configMap": {"name": "c"}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]),
        &json!({}),
        None,
    );
    let first = bed.mount(&pod).unwrap();
    fs::write(first["memory"].path.join("kept"), "x").unwrap();
    assert_eq!(bed.mount(&pod).unwrap()["config"].written, Written::Unchanged);
    bed.config(&json!({"b": "2"}));
    let again = bed.mount(&pod).unwrap();
    assert_eq!(again["config"].written, Written::Changed);
    assert_eq!(fs::read_to_string(again["config"].path.join("b")).unwrap(), "2");
    assert!(!again["config"].path.join("a").exists() && again["memory"].path.join("kept").exists());
    bed.sources.config_maps.insert("c".to_owned(), None);
    bed.mount(&pod).unwrap_err();
    assert_eq!(fs::read_to_string(again["config"].path.join("b")).unwrap(), "2", "the old contents stay");
}

#[test]
fn what_fails_is_named_with_its_volume_and_the_rest_is_mounted() {
    let bed = Bed::new();
    let volumes = json!([
        {"name": "x", "configMap": {"name": "gone"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "d"}},
        {"name": "dev", "hostPath": {"path": "/dev/null", "type": "Directory"}},
        {"name": "empty", "emptyDir": {}}]);
    let error = bed.mount(&pod(&volumes, &json!({}), None)).unwrap_err().to_string();
    assert_eq!(
        error,
        "MountVolume.SetUp failed for volume \"x\" : configmap \"gone\" not found; \
         MountVolume.SetUp failed for volume \"data\" : persistentvolumeclaim \"d\" is not known yet; MountVolume.SetUp failed for volume \"dev\" : hostPath type check failed: /dev/null is not a directory"
    );
    assert!(bed.pod_dir().join("volumes/kubernetes.io~empty-dir/empty").is_dir());
}

#[test]
fn a_volume_that_no_container_names_is_left_alone() {
    let bed = Bed::new();
    let mut pod = pod(&json!([{"name": "x", "configMap": {"name": "gone"}}]), &json!({}), None);
    pod.spec.as_mut().unwrap().containers[0].volume_mounts = None;
    assert!(bed.mount(&pod).unwrap().is_empty());
}

#[test]
fn a_container_gets_its_mounts_with_their_options() {
    let bed = Bed::new();
    let host = bed.dir.path().join("host");
    let volumes = json!([{"name": "host", "hostPath": {"path": host, "type": ""}}, {"name": "s", "secret": {"secretName": "s"}}]);
    let mounts_of = |more: Value| {
        let pod = pod(&volumes, &more, None);
        let made = bed.mount(&pod).unwrap();
        container_mounts(&bed.pod_dir(), container(&pod), &Environment::default(), &made)
    };
    let made = mounts_of(json!({"mountPropagation": "HostToContainer"})).unwrap();
    let expected = ContainerMount {
        source: host.clone(),
        destination: PathBuf::from("/host"),
        read_only: false,
        propagation: Propagation::HostToContainer,
    };
    assert_eq!(made[0], expected);
    assert!(made[1].read_only, "contents are never written by containers");
    let made = mounts_of(json!({"readOnly": true, "recursiveReadOnly": "IfPossible"})).unwrap();
    assert!(made[0].read_only && made[0].propagation == Propagation::Private);
    for (more, expected) in [
        (json!({"mountPropagation": "Sideways"}), "invalid MountPropagation mode: \"Sideways\""),
        (json!({"readOnly": true, "recursiveReadOnly": "Enabled"}), "not supported by this node"),
        (json!({"recursiveReadOnly": "Enabled"}), "it is not read-only"),
        (
            json!({"subPath": "../up"}),
            "failed to prepare subPath for volumeMount \"host\" of container \"c\"",
        ),
        (json!({"subPathExpr": "$(NONE)"}), "missing value for \"NONE\""),
    ] {
        let error = mounts_of(more).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_sub_path_shows_one_version_until_the_container_starts_again() {
    let mut bed = Bed::new();
    let pod = pod(&json!([{"name": "config", "configMap": {"name": "c"}}]), &json!({"subPath": "a"}), None);
    let source = |bed: &Bed| {
        let made = bed.mount(&pod).unwrap();
        container_mounts(&bed.pod_dir(), container(&pod), &Environment::default(), &made).unwrap()[0]
            .source
            .clone()
    };
    let path = source(&bed);
    assert_eq!(fs::read_to_string(&path).unwrap(), "1");
    assert_eq!(source(&bed), path);
    bed.config(&json!({"a": "2"}));
    bed.mount(&pod).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "1", "a running container's file does not change");
    assert_eq!(fs::read_to_string(source(&bed)).unwrap(), "2");
    mounts::remove_tree(&bed.pod_dir()).unwrap();
}

#[test]
fn variables_are_read_from_a_file_that_an_init_container_left() {
    let bed = Bed::new();
    let pod = pod(&json!([{"name": "empty", "emptyDir": {}}]), &json!({}), None);
    let made = bed.mount(&pod).unwrap();
    fs::write(made["empty"].path.join("env"), "A='1'\n").unwrap();
    let wanted = |path: &str| FileWanted { volume: "empty".to_owned(), path: path.to_owned() };
    std::os::unix::fs::symlink("/etc/passwd", made["empty"].path.join("out")).unwrap();
    let read = read_files([wanted("env"), wanted("out"), wanted("none")].into(), &made);
    assert_eq!(read, [(wanted("env"), "A='1'\n".to_owned())].into());
}
