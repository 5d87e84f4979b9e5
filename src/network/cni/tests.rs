use std::process::Command;

use super::*;
use crate::network::namespaces::{Kind, Wanted, pin, pin_path, unpin};

/// A node with a bridge of its own and one Pod's namespaces; nothing of it stays.
struct Bed {
    dir: tempfile::TempDir,
    bridge: String,
    cni: Cni,
}

impl Bed {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bridge = format!("lh{name}{}", std::process::id() % 100_000);
        let cni = Cni { config_dir: dir.path().join("net.d"), bin_dirs: Cni::default().bin_dirs };
        let wanted = Wanted { kinds: vec![Kind::Net], ..Wanted::default() };
        pin(dir.path(), &wanted).unwrap();
        Self { dir, bridge, cni }
    }

    fn configure(&self, more: &str) {
        let ipam = self.dir.path().join("ipam");
        let text = format!(
            r#"{{"cniVersion": "1.0.0", "name": "{0}", "plugins": [
              {{"type": "bridge", "bridge": "{0}", "ipam": {{"type": "host-local", "dataDir": "{1}",
                "ranges": [[{{"subnet": "10.213.7.0/24"}}], [{{"subnet": "fd00:213:7::/64"}}]]}}}}{more}]}}"#,
            self.bridge,
            ipam.display()
        );
        fs::create_dir_all(&self.cni.config_dir).unwrap();
        fs::write(self.cni.config_dir.join("10-test.conflist"), text).unwrap();
    }

    fn netns(&self) -> PathBuf {
        pin_path(self.dir.path(), Kind::Net)
    }

    fn record(&self) -> PathBuf {
        self.dir.path().join("cni.json")
    }

    /// Addresses that the allocator holds.
    fn held(&self) -> Vec<String> {
        let dir = self.dir.path().join("ipam").join(&self.bridge);
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.parse::<IpAddr>().is_ok()).collect()
    }

    async fn attach(&self) -> Result<Vec<String>, CniError> {
        self.cni.attach(&pod(), &self.netns(), &self.record(), false).await
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = unpin(self.dir.path());
        let _ = Command::new("ip").args(["link", "delete", &self.bridge]).output();
    }
}

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "0b1c"},
        "spec": {"containers": [{"name": "a", "ports": [
            {"containerPort": 80, "hostPort": 18080, "protocol": "UDP"}, {"containerPort": 81}]}]}
    }))
    .unwrap()
}

fn links(netns: &Path) -> String {
    let out = Command::new("nsenter")
        .arg(format!("--net={}", netns.display()))
        .args(["ip", "-brief", "address"])
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test]
async fn a_pod_is_attached_by_the_hosts_plugins_and_leaves_nothing_when_detached() {
    let bed = Bed::new("a");
    bed.configure("");
    let ips = bed.attach().await.unwrap();
    assert_eq!(ips.len(), 2);
    assert!(ips[0].starts_with("10.213.7.") && ips[1].starts_with("fd00:213:7:"), "{ips:?}");
    let inside = links(&bed.netns());
    assert!(inside.contains("eth0") && inside.contains(&ips[0]), "{inside}");
    assert_eq!(bed.attach().await.unwrap(), ips, "a later agent reads the same addresses back");
    bed.cni.check(&bed.record()).await.unwrap();
    fs::remove_dir_all(&bed.cni.config_dir).unwrap();
    bed.cni.detach(&bed.record()).await.unwrap();
    bed.cni.detach(&bed.record()).await.unwrap();
    assert!(!links(&bed.netns()).contains("eth0"));
    assert_eq!(bed.held(), Vec::<String>::new());
    assert!(!bed.record().exists());
}

#[tokio::test]
async fn a_failed_attachment_is_taken_back_whole_and_says_which_plugin_failed() {
    let bed = Bed::new("b");
    bed.configure(r#", {"type": "no-such-plugin"}"#);
    let error = bed.attach().await.unwrap_err().to_string();
    assert!(
        error.starts_with("plugin type=\"no-such-plugin\" failed (add): failed to find plugin"),
        "{error}"
    );
    assert!(!links(&bed.netns()).contains("eth0"));
    assert_eq!(bed.held(), Vec::<String>::new(), "the addresses of the plugins before it are free again");
    assert!(!bed.record().exists(), "a corrected configuration is used at the next attempt");
}

#[tokio::test]
async fn a_record_of_an_earlier_boot_is_given_back_before_the_new_namespace_is_attached() {
    let bed = Bed::new("c");
    bed.configure("");
    bed.attach().await.unwrap();
    let again = bed.cni.attach(&pod(), &bed.netns(), &bed.record(), true).await.unwrap();
    assert_eq!(again.len(), 2);
    assert_eq!(bed.held().len(), 2, "addresses do not pile up");
    bed.cni.detach(&bed.record()).await.unwrap();
}

#[tokio::test]
async fn a_node_without_configuration_is_not_ready_and_hears_when_one_arrives() {
    let bed = Bed::new("d");
    assert!(matches!(bed.attach().await.unwrap_err(), CniError::NotReady { .. }));
    let mut watch = ConfigurationWatch::new(&bed.cni.config_dir).unwrap();
    bed.configure("");
    while bed.cni.network().is_err() {
        watch.changed().await.unwrap();
    }
    // The watch now stands on the directory itself.
    let file = bed.cni.config_dir.join("10-test.conflist");
    let _ = tokio::time::timeout(std::time::Duration::from_millis(50), watch.changed()).await;
    fs::remove_file(file).unwrap();
    watch.changed().await.unwrap();
    assert!(bed.cni.network().is_err());
}

#[test]
fn plugins_get_the_capabilities_they_ask_for_and_no_others() {
    let list = r#"{"cniVersion": "1.0.0", "name": "n", "plugins": [
        {"type": "a", "capabilities": {"portMappings": true, "dns": true}}, {"type": "b", "mtu": 9000}]}"#;
    let attachment = Record {
        list: NetworkList::parse(list, Path::new("x")).unwrap(),
        container_id: "0b1c".to_owned(),
        netns: PathBuf::from("/n"),
        arguments: arguments(&pod()),
        capabilities: capabilities(&pod()),
        result: None,
    };
    let first = execution_config(&attachment, &attachment.list.plugins[0], None);
    assert_eq!(
        Value::from(first),
        json!({"type": "a", "name": "n", "cniVersion": "1.0.0", "runtimeConfig": {"portMappings": [
            {"hostPort": 18080, "containerPort": 80, "protocol": "udp", "hostIP": ""}]}})
    );
    let second = execution_config(&attachment, &attachment.list.plugins[1], Some(json!({"ips": []})));
    assert_eq!(
        Value::from(second),
        json!({"type": "b", "mtu": 9000, "name": "n", "cniVersion": "1.0.0", "prevResult": {"ips": []}})
    );
    assert!(attachment.arguments.contains("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;"));
}

#[test]
fn only_the_pods_side_counts_as_its_addresses() {
    let result = json!({
        "interfaces": [{"name": "br0"}, {"name": "eth0", "sandbox": "/run/x"}],
        "ips": [{"address": "fd00::2/64", "interface": 1}, {"address": "10.0.0.1/24", "interface": 0},
                {"address": "10.0.0.2/24", "interface": 1}, {"address": "10.0.0.3/24"}]});
    assert_eq!(addresses(&result), ["10.0.0.2", "10.0.0.3", "fd00::2"]);
}
