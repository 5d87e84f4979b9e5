//! What the endpoint does with commands, scenario by scenario.

mod applying;
mod creating;
mod deleting;
mod evicting;
mod expiring;
mod pods;
mod sessions;
mod storage;
mod updating;
mod workloads;

use std::sync::Arc;

use serde_json::{Value, json};

use super::state::{Change, Draft, Key, Object, State};
use super::{
    Action, Body, Command, DeleteOptions, Entropy, INITIAL_NAMESPACES, Outcome, Reply, Subresource, commit,
};
use crate::api::kinds::{Kind, by_kind};
use crate::api::patch::{JSON_PATCH, MERGE_PATCH, Patch, STRATEGIC_PATCH};
use crate::api::status::Status;
use crate::time::WallTime;

/// Counts instead of drawing.
#[derive(Default)]
struct Counter {
    uids: u32,
    suffixes: Vec<&'static str>,
}

impl Entropy for Counter {
    fn uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{}", self.uids)
    }

    fn suffix(&mut self) -> String {
        if self.suffixes.len() > 1 { self.suffixes.remove(0) } else { self.suffixes[0] }.to_owned()
    }
}

/// An endpoint with its initial namespaces, at some time.
struct Endpoint {
    state: State,
    entropy: Counter,
    now: WallTime,
    changes: Vec<Change>,
}

fn at(time: &str) -> WallTime {
    WallTime::parse(time).expect("RFC 3339")
}

fn kind(name: &str) -> &'static Kind {
    let groups = [
        "",
        "apps",
        "batch",
        "policy",
        "coordination.k8s.io",
        "certificates.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    ];
    groups.iter().find_map(|group| by_kind(group, "v1", name)).expect("a kind of the table")
}

impl Endpoint {
    fn new() -> Self {
        let mut endpoint = Self {
            state: State::default(),
            entropy: Counter { uids: 0, suffixes: vec!["bcdfg"] },
            now: at("2026-01-02T03:04:05Z"),
            changes: Vec::new(),
        };
        for name in INITIAL_NAMESPACES {
            endpoint.create("Namespace", json!({ "metadata": { "name": name } }));
        }
        // Its Pods find no token, so that they are as they were sent.
        let account = json!({ "metadata": { "name": "default" }, "automountServiceAccountToken": false });
        endpoint.create("ServiceAccount", account);
        endpoint.entropy.uids = 0;
        endpoint
    }

    fn run(&mut self, command: &Command) -> Result<Reply, Status> {
        let mut draft = Draft::new(&self.state);
        let reply = commit(&mut draft, command, self.now, &mut self.entropy);
        let (changes, revision) = draft.into_changes();
        assert!(reply.is_ok() || changes.is_empty(), "a refused command changes nothing");
        assert!(!command.dry_run || changes.is_empty(), "a dry run changes nothing");
        self.state.apply(&changes, revision);
        self.changes = changes;
        reply
    }

    fn act(&mut self, kind_name: &str, action: Action) -> Result<Reply, Status> {
        let kind = kind(kind_name);
        self.run(&Command::new(kind, if kind.namespaced { "default" } else { "" }, action))
    }

    fn try_create(&mut self, kind: &str, body: Value) -> Result<Value, Status> {
        self.act(kind, Action::Create { body }).map(|reply| object(&reply))
    }

    fn create(&mut self, kind: &str, body: Value) -> Value {
        self.try_create(kind, body).expect("a valid new object")
    }

    fn try_update(&mut self, kind: &str, subresource: Subresource, body: &Value) -> Result<Reply, Status> {
        let name = body["metadata"]["name"].as_str().expect("a name").to_owned();
        self.act(kind, Action::Update { name, subresource, body: body.clone() })
    }

    fn update(&mut self, kind: &str, body: &Value) -> Value {
        object(&self.try_update(kind, Subresource::Main, body).expect("a valid update"))
    }

    fn update_status(&mut self, kind: &str, body: &Value) -> Value {
        object(&self.try_update(kind, Subresource::Status, body).expect("a valid status"))
    }

    fn try_patch(
        &mut self,
        kind: &str,
        name: &str,
        media_type: &str,
        patch: &Value,
    ) -> Result<Reply, Status> {
        let patch = Patch::parse(media_type, patch.to_string().as_bytes())?;
        self.act(kind, Action::Patch { name: name.into(), subresource: Subresource::Main, patch })
    }

    fn merge(&mut self, kind: &str, name: &str, patch: &Value) -> Value {
        object(&self.try_patch(kind, name, MERGE_PATCH, patch).expect("a valid patch"))
    }

    fn try_delete(&mut self, kind: &str, name: &str, options: DeleteOptions) -> Result<Reply, Status> {
        self.act(kind, Action::Delete { name: name.into(), options })
    }

    fn delete(&mut self, kind: &str, name: &str) -> Reply {
        self.try_delete(kind, name, DeleteOptions::default()).expect("it can be deleted")
    }

    fn get(&self, kind_name: &str, name: &str) -> Option<Value> {
        let kind = kind(kind_name);
        self.state.objects.get(&Key::new(kind, "default", name)).map(|object| object.value())
    }
}

fn object(reply: &Reply) -> Value {
    match &reply.body {
        Body::Object(object) => object.value(),
        Body::Status(status) => panic!("a Status instead of an object: {status}"),
    }
}

fn shared(reply: &Reply) -> Arc<Object> {
    match &reply.body {
        Body::Object(object) => object.clone(),
        Body::Status(status) => panic!("a Status instead of an object: {status}"),
    }
}

fn named(name: &str) -> Value {
    json!({ "metadata": { "name": name } })
}

fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "a", "image": "i" }] } })
}

fn bound_pod(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = "n1".into();
    pod["spec"]["terminationGracePeriodSeconds"] = 30.into();
    pod
}

fn daemon_set(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "a", "image": "i:1" }] },
            },
        },
    })
}

/// Code, reason and message, for comparison in one line.
fn refusal(result: Result<impl Sized, Status>) -> (u16, &'static str, String) {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(status) => (status.code, status.reason, status.message),
    }
}

fn refused(code: u16, reason: &'static str, message: &str) -> (u16, &'static str, String) {
    (code, reason, message.to_owned())
}
