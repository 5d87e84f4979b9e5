//! What the fuzz targets in `fuzz/` run, and the ordinary tests with fewer bytes: an endpoint without a server, the
//! objects it starts with, and what must hold of every object it keeps.
//!
//! A panic is a finding. Nothing of this is in the program. `PROPTEST_CASES=100000 cargo test --lib fuzz::` runs more.

pub mod apply;
pub mod bodies;
pub mod json_patch;
pub mod merge_patch;
pub mod strategic_patch;
pub mod words;

use crate::api::arbitrary;
use crate::api::kinds::{Kind, by_kind};
use crate::api::model;
use crate::api::status::Status;
use crate::coordinator::services::Allotments;
use crate::coordinator::state::{Draft, Key, Object, State};
use crate::coordinator::{Action, Body, Command, Entropy, Outcome, Reply, Subresource, commit};
use crate::time::WallTime;
use serde_json::{Value, json};

/// Identities in the order of numbers, so that a run is the same each time.
#[derive(Default)]
struct Counter(u64);

impl Entropy for Counter {
    fn uid(&mut self) -> String {
        self.0 += 1;
        format!("00000000-0000-4000-8000-{:012}", self.0)
    }
    fn suffix(&mut self) -> String {
        self.0 += 1;
        format!("{:05}", self.0 % 100_000)
    }
}

/// The state, and who changes it.
pub struct Endpoint {
    state: State,
    entropy: Counter,
    now: WallTime,
}

/// Objects to be patched: one of each kind that has much to judge.
pub fn objects() -> Vec<(&'static Kind, Value)> {
    let pod = json!({
        "containers": [{ "name": "a", "image": "i", "ports": [{ "containerPort": 80 }], "env": [{ "name": "E", "value": "v" }] }],
        "volumes": [{ "name": "v", "emptyDir": {} }],
        "tolerations": [{ "key": "k", "operator": "Exists" }],
    });
    let template = json!({ "metadata": { "labels": { "app": "x" } }, "spec": pod });
    let workload = json!({ "selector": { "matchLabels": { "app": "x" } }, "template": template });
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = "Never".into();
    let of = |group: &str, kind: &str, object: Value| {
        let kind = by_kind(group, "v1", kind).expect("a row of the table");
        let mut object = object;
        object["metadata"]["name"] = "x".into();
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.into();
        (kind, object)
    };
    let spec = |spec: &Value| json!({ "spec": spec });
    vec![
        of("", "Pod", spec(&pod)),
        of("apps", "DaemonSet", spec(&workload)),
        of("apps", "Deployment", spec(&workload)),
        of("apps", "StatefulSet", spec(&workload)),
        of("batch", "Job", spec(&json!({ "template": job }))),
        of(
            "batch",
            "CronJob",
            spec(&json!({ "schedule": "* * * * *", "jobTemplate": { "spec": { "template": job } } })),
        ),
        of("", "Service", spec(&json!({ "ports": [{ "port": 80 }], "selector": { "app": "x" } }))),
        of("", "ConfigMap", json!({ "data": { "k": "v" } })),
        of("", "Secret", json!({ "data": { "k": "dg==" } })),
        of(
            "",
            "Node",
            json!({ "metadata": { "labels": { "l": "m" } }, "spec": { "taints": [{ "key": "k", "effect": "NoSchedule" }] } }),
        ),
        of(
            "",
            "PersistentVolumeClaim",
            spec(
                &json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } }),
            ),
        ),
        of("coordination.k8s.io", "Lease", spec(&json!({ "holderIdentity": "n" }))),
        of("networking.k8s.io", "NetworkPolicy", spec(&json!({ "podSelector": {} }))),
        of(
            "rbac.authorization.k8s.io",
            "Role",
            json!({ "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }] }),
        ),
    ]
}

impl Endpoint {
    /// One that has a namespace.
    pub fn start() -> Self {
        let now = WallTime::parse("2026-01-02T03:04:05Z").expect("RFC 3339");
        let range = "10.96.0.0/12".parse().expect("a range");
        let state = State { allotments: Allotments::new(vec![range]), ..State::default() };
        let mut endpoint = Self { state, entropy: Counter::default(), now };
        for name in ["default", "kube-system"] {
            endpoint.make("Namespace", json!({ "metadata": { "name": name } }));
        }
        endpoint.make(
            "ServiceAccount",
            json!({ "metadata": { "name": "default" }, "automountServiceAccountToken": false }),
        );
        endpoint
    }

    fn make(&mut self, kind: &str, body: Value) {
        let kind = by_kind("", "v1", kind).expect("a row of the table");
        self.act(kind, Action::Create { body }).expect("a valid object");
    }

    /// Does it, or refuses it and changes nothing. What is kept then holds to the rules.
    pub fn act(&mut self, kind: &'static Kind, action: Action) -> Result<Reply, Status> {
        let mut command = Command::new(kind, if kind.namespaced { "default" } else { "" }, action);
        command.manager = "fuzz".into();
        let mut draft = Draft::new(&self.state);
        let reply = commit(&mut draft, &command, self.now, &mut self.entropy);
        let (changes, revision) = draft.into_changes();
        match &reply {
            Err(status) => {
                assert!(changes.is_empty(), "a refused command changes nothing");
                // Upstream too answers 500 to what does not suit its type.
                let is_upstreams = status.reason.is_empty();
                assert!(
                    (400..=422).contains(&status.code) || (status.code == 500 && is_upstreams),
                    "{status:?}"
                );
            }
            Ok(Reply { outcome: Outcome::Unchanged, .. }) => assert!(changes.is_empty()),
            Ok(Reply { body: Body::Object(object), .. }) => hold_to_rules(object),
            Ok(_) => {}
        }
        self.state.apply(&changes, revision);
        reply
    }

    /// The object as it is kept.
    pub fn kept(&self, kind: &'static Kind, name: &str) -> Option<Value> {
        let key = Key::new(kind, if kind.namespaced { "default" } else { "" }, name);
        self.state.objects.get(&key).map(|object| object.value())
    }

    /// A second write of what is there changes nothing.
    pub fn is_settled(&mut self, kind: &'static Kind, name: &str) {
        let Some(body) = self.kept(kind, name) else { return };
        let action = Action::Update { name: name.into(), subresource: Subresource::Main, body: body.clone() };
        let again =
            self.act(kind, action).unwrap_or_else(|e| panic!("what is kept can be written: {e:?}\n{body}"));
        assert!(
            again.outcome == Outcome::Unchanged,
            "{:?}\n{body}\n{:?}",
            again.outcome,
            self.kept(kind, name)
        );
    }
}

/// The object of an answer.
pub fn object(reply: &Reply) -> Option<Value> {
    match &reply.body {
        Body::Object(object) => Some(object.value()),
        Body::Status(_) => None,
    }
}

/// What holds of every object that is kept.
fn hold_to_rules(object: &Object) {
    let (kind, value) = (object.kind, object.value());
    if let Err(why) = model::decode_check(kind, &value) {
        panic!("{why}\n{value}");
    }
    let errors = (kind.validate)(&value);
    assert!(errors.is_empty(), "{errors:?}\n{value}");
    let mut again = value.clone();
    model::canonicalise(kind, &mut again);
    assert_eq!(again, value, "canonical");
    (kind.defaults)(&mut again);
    assert_eq!(again, value, "with its defaults");
    let read = Object::decode(kind, object.json.clone()).unwrap_or_else(|e| panic!("{e}\n{value}"));
    assert_eq!(read.value(), value, "read again");
}

/// A small change of an object of this kind: one field with the right type and any value, in what it stands in.
pub fn change(kind: &Kind, seed: u64) -> Value {
    narrow(arbitrary::object(kind, seed), seed)
}

fn narrow(value: Value, seed: u64) -> Value {
    let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17);
    if let Value::Object(fields) = &value
        && !fields.is_empty()
        && !seed.is_multiple_of(7)
    {
        let at = (seed >> 8) as usize % fields.len();
        let (name, inner) = fields.iter().nth(at).expect("within");
        return json!({ name: narrow(inner.clone(), seed) });
    }
    if let Value::Array(items) = &value
        && seed.is_multiple_of(3)
    {
        return items.iter().map(|item| narrow(item.clone(), seed)).collect();
    }
    if seed.is_multiple_of(11) { Value::Null } else { value }
}

/// Takes a number from the front.
pub fn number(data: &mut &[u8]) -> u64 {
    let (front, rest) = data.split_at(data.len().min(8));
    *data = rest;
    front.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The fuzzer's choice of an object, made, with the rest of its bytes.
pub fn choose(data: &mut &[u8]) -> Option<(Endpoint, &'static Kind, u8)> {
    let (choice, rest) = data.split_at_checked(2)?;
    *data = rest;
    let mut objects = objects();
    let (kind, body) = objects.swap_remove(choice[0] as usize % objects.len());
    let mut endpoint = Endpoint::start();
    endpoint.act(kind, Action::Create { body }).expect("a valid object");
    Some((endpoint, kind, choice[1]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        #[test]
        fn bodies_are_kept_as_they_can_be_read_and_come_back(data in bytes()) {
            super::bodies::run(&data);
        }

        #[test]
        fn json_patches_make_valid_objects_or_are_refused(data in bytes()) {
            super::json_patch::run(&data);
        }

        #[test]
        fn merge_patches_twice_are_as_once(data in bytes()) {
            super::merge_patch::run(&data);
        }

        #[test]
        fn strategic_patches_make_valid_objects_or_are_refused(data in bytes()) {
            super::strategic_patch::run(&data);
        }

        #[test]
        fn applied_twice_is_as_applied_once(data in bytes()) {
            super::apply::run(&data);
        }

        #[test]
        fn words_are_read_the_same_from_what_they_are_written_as(text in "[a-zA-Z0-9 .,:=!()<>/*@?+-]{0,24}") {
            super::words::run(text.as_bytes());
        }
    }
}
