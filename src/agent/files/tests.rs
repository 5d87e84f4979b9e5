use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn sources() -> Sources {
    let mut sources = Sources::default();
    // "AP8=" is the bytes 00 ff, "cw==" is "s".
    let map = json!({"metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}, "binaryData": {"bin": "AP8="}});
    sources.config_maps.insert("c".to_owned(), Some(Arc::new(serde_json::from_value(map).unwrap())));
    let secret = json!({"metadata": {"name": "s"}, "data": {"a": "cw=="}});
    sources.secrets.insert("s".to_owned(), Some(Arc::new(serde_json::from_value(secret).unwrap())));
    sources.config_maps.insert("gone".to_owned(), None);
    sources.secrets.insert("gone".to_owned(), None);
    let wanted = TokenWanted { audience: "vault".to_owned(), expiration_seconds: 600 };
    sources.tokens.insert(wanted, Ok("jwt".to_owned()));
    sources
}

fn pod(spec: &Value) -> Pod {
    let mut whole = json!({"containers": [{"name": "c", "resources": {"limits": {"memory": "1Mi"}}}]});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"name": "web", "labels": {"app": "x"}}, "spec": whole}))
        .unwrap()
}

fn make(volume: &Value) -> Result<Files, FilesError> {
    make_for(&pod(&json!({})), volume)
}

fn make_for(pod: &Pod, volume: &Value) -> Result<Files, FilesError> {
    let mut volume = volume.clone();
    volume["name"] = "v".into();
    let volume = serde_json::from_value(volume).unwrap();
    files(pod, &volume, &sources(), &PodFacts::default()).unwrap()
}

fn listed(files: &Files) -> Vec<(&str, u32, &[u8])> {
    files.iter().map(|(path, file)| (path.as_str(), file.mode, file.bytes.as_slice())).collect()
}

#[test]
fn all_keys_become_files_or_the_chosen_ones_under_their_paths() {
    let all = make(&json!({"configMap": {"name": "c", "defaultMode": 0o400}})).unwrap();
    assert_eq!(listed(&all), [("a", 0o400, &b"1"[..]), ("b", 0o400, b"2"), ("bin", 0o400, &[0, 255])]);
    let chosen = json!({"configMap": {"name": "c", "items": [
        {"key": "b", "path": "x//./y", "mode": 0o755}, {"key": "bin", "path": "z"}]}});
    let chosen = make(&chosen).unwrap();
    assert_eq!(listed(&chosen), [("x/y", 0o755, &b"2"[..]), ("z", 0o644, &[0, 255])]);
}

#[test]
fn what_is_missing_is_said_in_upstreams_words_unless_it_is_optional() {
    let item = json!([{"key": "none", "path": "p"}, {"key": "a", "path": "q"}]);
    for (volume, expected) in [
        (json!({"configMap": {"name": "gone"}}), "configmap \"gone\" not found"),
        (json!({"secret": {"secretName": "gone"}}), "secret \"gone\" not found"),
        (
            json!({"configMap": {"name": "c", "items": item}}),
            "configmap references non-existent config key: none",
        ),
        (json!({"secret": {"secretName": "s", "items": item}}), "references non-existent secret key: none"),
    ] {
        assert_eq!(make(&volume).unwrap_err().to_string(), expected);
    }
    assert!(make(&json!({"secret": {"secretName": "gone", "optional": true}})).unwrap().is_empty());
    let some = make(&json!({"secret": {"secretName": "s", "optional": true, "items": item}})).unwrap();
    assert_eq!(listed(&some), [("q", 0o644, &b"s"[..])]);
    let unknown = make(&json!({"secret": {"secretName": "unseen", "optional": true}})).unwrap_err();
    assert!(matches!(unknown, FilesError::Missing(Missing::NotKnownYet { .. })));
}

#[test]
fn a_path_cannot_leave_the_volume_nor_hide_in_it() {
    for path in ["../x", "a/../../x", "/etc/x", "..data", "..2024", "", "./", "a\u{0}b", &"n".repeat(256)] {
        let volume = json!({"configMap": {"name": "c", "items": [{"key": "a", "path": path}]}});
        assert!(matches!(make(&volume).unwrap_err(), FilesError::Path { .. }), "{path}");
    }
    assert!(make(&json!({"configMap": {"name": "c", "items": [{"key": "a", "path": "x/..y"}]}})).is_ok());
}

#[test]
fn a_pods_own_facts_become_files() {
    let volume = json!({"downwardAPI": {"items": [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "memory", "mode": 0o440, "resourceFieldRef": {"containerName": "c", "resource": "limits.memory"}}]}});
    let made = make(&volume).unwrap();
    assert_eq!(listed(&made), [("labels", 0o644, &b"app=\"x\""[..]), ("memory", 0o440, b"1048576")]);
}

#[test]
fn a_projected_volume_joins_its_sources_and_the_last_wins() {
    let volume = json!({"projected": {"defaultMode": 0o444, "sources": [
        {"configMap": {"name": "c", "items": [{"key": "a", "path": "a"}, {"key": "b", "path": "dir/b"}]}},
        {"secret": {"name": "s"}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}}]}});
    let made = make(&volume).unwrap();
    assert_eq!(
        listed(&made),
        [("a", 0o444, &b"s"[..]), ("dir/b", 0o444, b"2"), ("name", 0o444, b"web"), ("token", 0o444, b"jwt")]
    );
}

#[test]
fn a_token_belongs_to_the_pods_user_or_group_alone() {
    let volume = json!({"projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}}]}});
    let token = |spec: Value| make_for(&pod(&spec), &volume).unwrap().remove("token").unwrap();
    assert_eq!((token(json!({})).mode, token(json!({})).owner), (0o644, None));
    let user = token(json!({"securityContext": {"runAsUser": 1000}}));
    assert_eq!((user.mode, user.owner), (0o600, Some(1000)));
    let group = token(json!({"securityContext": {"fsGroup": 2000}}));
    assert_eq!((group.mode, group.owner), (0o600, None));
}

#[test]
fn all_that_is_wrong_with_a_projected_volume_is_told_at_once() {
    let volume = json!({"projected": {"sources": [
        {"configMap": {"name": "gone"}}, {"secret": {"name": "s"}},
        {"serviceAccountToken": {"path": "token"}}, {"clusterTrustBundle": {"path": "ca"}}]}});
    assert_eq!(
        make(&volume).unwrap_err().to_string(),
        "[configmap \"gone\" not found, failed to fetch token: waiting for the coordinator, \
         projected volume source clusterTrustBundle is not supported]"
    );
}

#[test]
fn other_volumes_have_no_such_files() {
    let volume = serde_json::from_value(json!({"name": "v", "emptyDir": {}})).unwrap();
    assert!(files(&pod(&json!({})), &volume, &sources(), &PodFacts::default()).is_none());
}
