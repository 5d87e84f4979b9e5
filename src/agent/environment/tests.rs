use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn facts() -> PodFacts {
    PodFacts {
        ips: vec!["10.0.0.2".to_owned()],
        host_name: "web-0".to_owned(),
        node_name: "n1".to_owned(),
        ..PodFacts::default()
    }
}

fn sources() -> Sources {
    let mut sources = Sources::default();
    let map = json!({"metadata": {"name": "c"}, "data": {"k": "v", "a.b": "dotted", "x": "$(LATER)"}});
    sources.config_maps.insert("c".to_owned(), Some(Arc::new(serde_json::from_value(map).unwrap())));
    // "cw==" is "s", "/w==" is the byte ff.
    let secret = json!({"metadata": {"name": "s"}, "data": {"k": "cw=="}});
    sources.secrets.insert("s".to_owned(), Some(Arc::new(serde_json::from_value(secret).unwrap())));
    let binary = json!({"metadata": {"name": "binary"}, "data": {"k": "/w=="}});
    sources.secrets.insert("binary".to_owned(), Some(Arc::new(serde_json::from_value(binary).unwrap())));
    sources.config_maps.insert("gone".to_owned(), None);
    sources
}

fn container(fields: &Value) -> Container {
    let mut whole = json!({"name": "c"});
    whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

fn make(fields: &Value, image: &[&str], facts: &PodFacts) -> Result<Environment, EnvironmentError> {
    let container = container(fields);
    let pod = json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": {"containers": []}});
    let image: Vec<_> = image.iter().map(|text| (*text).to_owned()).collect();
    environment(&serde_json::from_value(pod).unwrap(), &container, &image, &sources(), facts)
}

fn declared(fields: &Value) -> Vec<(String, String)> {
    make(fields, &[], &facts()).unwrap().declared.into_iter().collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn references_see_what_stands_before_them_and_stay_when_it_stands_after() {
    let env = json!({"env": [
        {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(C)-$$(A)"}, {"name": "C", "value": "3"},
        {"name": "A", "value": "$(A)2"}, {"name": "E"}]});
    assert_eq!(declared(&env), pairs(&[("A", "12"), ("B", "1-$(C)-$(A)"), ("C", "3"), ("E", "")]));
}

#[test]
fn whole_objects_come_first_and_single_variables_win() {
    let env = json!({
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}},
            {"configMapRef": {"name": "gone", "optional": true}}],
        "env": [{"name": "LATER", "value": "l"}, {"name": "k", "value": "own"}, {"name": "SEEN", "value": "$(P_k)"}]});
    assert_eq!(
        declared(&env),
        pairs(&[
            ("LATER", "l"),
            ("P_a.b", "dotted"),
            ("P_k", "v"),
            ("P_x", "$(LATER)"),
            ("SEEN", "v"),
            ("k", "own")
        ])
    );
}

#[test]
fn names_that_no_variable_may_have_are_skipped_and_told() {
    let env = json!({"envFrom": [{"prefix": "A=", "configMapRef": {"name": "c"}}]});
    let made = make(&env, &[], &facts()).unwrap();
    assert_eq!(made.declared.len(), 0);
    assert_eq!(
        made.warnings,
        [
            "Keys [A=a.b, A=k, A=x] from the EnvFrom configMap shop/c were skipped since they are considered invalid \
          environment variable names."
        ]
    );
}

#[test]
fn every_kind_of_source_is_resolved_and_its_text_is_not_expanded() {
    let env = json!({"resources": {"limits": {"cpu": "2"}}, "env": [
        {"name": "LATER", "value": "l"},
        {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "R", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "x"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "none", "optional": true}}},
        {"name": "G", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "k", "optional": true}}}]});
    assert_eq!(
        declared(&env),
        pairs(&[("C", "$(LATER)"), ("F", "10.0.0.2"), ("LATER", "l"), ("R", "2"), ("S", "s")])
    );
}

#[test]
fn what_is_missing_is_said_in_upstreams_words() {
    let one = |source: Value| json!({"env": [{"name": "V", "valueFrom": source}]});
    for (fields, expected) in [
        (json!({"envFrom": [{"configMapRef": {"name": "gone"}}]}), "configmap \"gone\" not found"),
        (one(json!({"configMapKeyRef": {"name": "gone", "key": "k"}})), "configmap \"gone\" not found"),
        (
            one(json!({"configMapKeyRef": {"name": "c", "key": "z"}})),
            "couldn't find key z in ConfigMap shop/c",
        ),
        (one(json!({"secretKeyRef": {"name": "s", "key": "z"}})), "couldn't find key z in Secret shop/s"),
        (
            one(json!({"secretKeyRef": {"name": "never-seen", "key": "z", "optional": true}})),
            "secret \"never-seen\" is not known yet: waiting for the coordinator",
        ),
        (
            one(json!({"fieldRef": {"fieldPath": "spec.tolerations"}})),
            "field label not supported: spec.tolerations",
        ),
        (
            one(json!({"secretKeyRef": {"name": "binary", "key": "k"}})),
            "environment variable \"V\": expected a text without NUL bytes",
        ),
        (
            json!({"env": [{"name": "N", "value": "a\u{0}b"}]}),
            "environment variable \"N\": expected a text without NUL bytes",
        ),
        (
            one(json!({"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}})),
            "environment variable \"V\": cannot read file \"p\" of volume \"v\"",
        ),
    ] {
        assert_eq!(make(&fields, &[], &facts()).unwrap_err().to_string(), expected);
    }
}

#[test]
fn the_process_finds_image_then_host_name_then_its_own_and_each_once() {
    let env = json!({"tty": true, "env": [{"name": "B", "value": "own"}]});
    let made = make(&env, &["PATH=/opt", "B=image", "HOSTNAME=image", "EMPTY=", "X=a=b"], &facts()).unwrap();
    assert_eq!(
        made.variables,
        pairs(&[
            ("PATH", "/opt"),
            ("TERM", "xterm"),
            ("B", "own"),
            ("HOSTNAME", "web-0"),
            ("EMPTY", ""),
            ("X", "a=b")
        ])
    );
    let made = make(&json!({}), &[], &facts()).unwrap();
    assert_eq!(made.variables[0], ("PATH".to_owned(), DEFAULT_PATH.to_owned()));
}

#[test]
fn the_api_server_is_told_as_the_kubernetes_service() {
    let facts = PodFacts { api_server: Some(("10.96.0.1".to_owned(), 443)), ..facts() };
    let env = json!({"env": [{"name": "URL", "value": "https://$(KUBERNETES_SERVICE_HOST)"},
        {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"}]});
    let made = make(&env, &[], &facts).unwrap();
    assert_eq!(made.declared["URL"], "https://10.96.0.1");
    assert_eq!(made.declared["KUBERNETES_SERVICE_PORT"], "6443");
    assert_eq!(made.declared["KUBERNETES_PORT_443_TCP"], "tcp://10.96.0.1:443");
}

#[test]
fn a_command_takes_the_images_arguments_away_and_arguments_do_not_take_its_entrypoint() {
    let environment = make(&json!({"env": [{"name": "A", "value": "1"}]}), &["I=2"], &facts()).unwrap();
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (entrypoint, arguments) = (list(&["/entry"]), list(&["image", "$(A)"]));
    for (fields, expected) in [
        (json!({}), vec!["/entry", "image", "$(A)"]),
        (json!({"args": ["$(A)", "$(I)"]}), vec!["/entry", "1", "$(I)"]),
        (json!({"command": ["sh", "$$(A)"]}), vec!["sh", "$(A)"]),
        (json!({"command": ["sh"], "args": ["-c", "x$(A)"]}), vec!["sh", "-c", "x1"]),
    ] {
        assert_eq!(command(&container(&fields), &entrypoint, &arguments, &environment), expected, "{fields}");
    }
}

#[test]
fn a_sub_path_needs_all_its_variables() {
    let environment = make(&json!({"env": [{"name": "A", "value": "1"}]}), &[], &facts()).unwrap();
    let mount = |field: &str, text: &str| -> VolumeMount {
        serde_json::from_value(json!({"name": "v", "mountPath": "/m", field: text})).unwrap()
    };
    assert_eq!(sub_path(&mount("subPathExpr", "logs/$(A)"), &environment).unwrap(), "logs/1");
    assert_eq!(sub_path(&mount("subPath", "$(A)"), &environment).unwrap(), "$(A)");
    let error = sub_path(&mount("subPathExpr", "$(A)/$(Z)"), &environment).unwrap_err();
    assert_eq!(error.to_string(), "failed to expand subPath for volumeMount \"v\": missing value for \"Z\"");
}
