//! `paths`: every route of a kind with its verbs, what each takes and what it answers.

use serde_json::{Map, Value, json};

use super::schemas::meta;
use super::{group_version, group_version_kind, reference, schema_name};
use crate::api::absent::{Absent, VERSION};
use crate::api::kinds::Kind;
use crate::api::parts::{Face, Part};
use crate::api::patch::{APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH};

/// Parameters of reads of many objects: name, type, description.
const LISTING: [(&str, &str, &str); 10] = [
    ("allowWatchBookmarks", "boolean", "Asks for events that only tell the newest resourceVersion."),
    ("continue", "string", "Where the last page ended, as the server said."),
    ("fieldSelector", "string", "Only objects whose fields match."),
    ("labelSelector", "string", "Only objects whose labels match."),
    ("limit", "integer", "Most objects of one page."),
    ("resourceVersion", "string", "The revision to read or to watch from."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begins a watch with the objects that are there."),
    ("timeoutSeconds", "integer", "Ends the call after this time."),
    ("watch", "boolean", "Streams changes instead of a list."),
];
const DRY_RUN: (&str, &str, &str) = ("dryRun", "string", "All: does everything but keep the change.");
const FIELD_MANAGER: (&str, &str, &str) = ("fieldManager", "string", "The name of who makes the change.");
const FIELD_VALIDATION: (&str, &str, &str) = (
    "fieldValidation",
    "string",
    "What becomes of unknown and doubled fields: Ignore drops no word, Warn tells, Strict refuses.",
);
const FORCE: (&str, &str, &str) =
    ("force", "boolean", "Takes fields from their other owners in an apply patch.");
const DELETING: [(&str, &str, &str); 4] = [
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "Time to end in; 0 ends at once."),
    ("orphanDependents", "boolean", "The old name of propagationPolicy."),
    ("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
];

/// All routes of these kinds.
pub(super) fn paths(kinds: &[&Kind]) -> Map<String, Value> {
    kinds.iter().flat_map(|kind| routes(kind)).collect()
}

/// The route of a resource that is not there: clients that find it leave the judgement of fields to the server, and so
/// come to ask.
pub(super) fn of_absent(absent: &Absent) -> (String, Value) {
    let path = format!("/apis/{}/{VERSION}/{}/{{name}}", absent.group, absent.plural);
    let takes = [writing(), parameters(&[FORCE])].concat();
    let operation = json!({
        "operationId": format!("patch{}", absent.kind),
        "parameters": takes,
        "responses": { "404": { "description": "It is not served.", "content": {} } },
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": { "group": absent.group, "version": VERSION, "kind": absent.kind },
    });
    (path, json!({ "patch": operation }))
}

fn routes(kind: &Kind) -> Vec<(String, Value)> {
    let base = format!("/{}", group_version(kind));
    let home = if kind.namespaced { format!("{base}/namespaces/{{namespace}}") } else { base.clone() };
    if kind.is_review() {
        return vec![(format!("{home}/{}", kind.plural), asked(kind))];
    }
    let item = format!("{home}/{}/{{name}}", kind.plural);
    let mut routes =
        vec![(format!("{home}/{}", kind.plural), collection(kind)), (item.clone(), object(kind, "", kind))];
    if kind.has_status {
        routes.push((format!("{item}/status"), object(kind, "Status", kind)));
    }
    routes.extend(kind.parts.iter().filter_map(|it| Some((format!("{item}/{}", it.name), part(kind, it)?))));
    if kind.namespaced {
        routes.push((format!("{base}/{}", kind.plural), everywhere(kind)));
    }
    if kind.kind == "Pod" {
        routes
            .push((format!("{item}/log"), json!({ "get": text(kind, "readCoreV1NamespacedPodLog", &LOG) })));
        let exec = text(kind, "connectCoreV1GetNamespacedPodExec", &EXEC);
        routes.push((format!("{item}/exec"), json!({ "get": exec })));
    }
    routes
}

const LOG: [(&str, &str, &str); 8] = [
    ("container", "string", "The container; may be left out where there is one."),
    ("follow", "boolean", "Goes on as the log grows."),
    ("limitBytes", "integer", "Most bytes."),
    ("previous", "boolean", "The log of the run before."),
    ("sinceSeconds", "integer", "Only lines as old as this or younger."),
    ("sinceTime", "string", "Only lines from this time on."),
    ("tailLines", "integer", "Only the last lines."),
    ("timestamps", "boolean", "Puts the time before each line."),
];
const EXEC: [(&str, &str, &str); 6] = [
    ("command", "string", "The program and its arguments, one parameter each."),
    ("container", "string", "The container; may be left out where there is one."),
    ("stderr", "boolean", "Carries standard error."),
    ("stdin", "boolean", "Carries standard input."),
    ("stdout", "boolean", "Carries standard output."),
    ("tty", "boolean", "Gives the program a terminal."),
];

fn collection(kind: &Kind) -> Value {
    let answer = reference(&schema_name(kind));
    let many = reference(&format!("{}List", schema_name(kind)));
    let scope = scope(kind);
    json!({
        "parameters": path_parameters(kind, false),
        "get": operation(kind, "list", &scope, "list", &parameters(&LISTING), None, &many),
        "post": operation(
            kind, "create", &scope, "post", &writing(), Some(body("*/*", &answer)), &answer,
        ),
        "delete": operation(
            kind, "deleteCollection", &scope, "deletecollection",
            &[parameters(&LISTING), parameters(&DELETING)].concat(),
            Some(body("*/*", &meta("DeleteOptions"))), &meta("Status"),
        ),
    })
}

/// A kind that is only asked.
fn asked(kind: &Kind) -> Value {
    let answer = reference(&schema_name(kind));
    json!({
        "parameters": path_parameters(kind, false),
        "post": operation(
            kind, "create", &scope(kind), "post", &writing(), Some(body("*/*", &answer)), &answer,
        ),
    })
}

fn everywhere(kind: &Kind) -> Value {
    let many = reference(&format!("{}List", schema_name(kind)));
    let id = format!("list{}{}ForAllNamespaces", group_id(kind), kind.kind);
    let mut list = operation(kind, "list", "", "list", &parameters(&LISTING), None, &many);
    list["operationId"] = id.into();
    json!({ "get": list })
}

/// The routes of a part; none where it has none here.
fn part(kind: &Kind, part: &Part) -> Option<Value> {
    let of = part.kind.unwrap_or(kind);
    let suffix = part.name[..1].to_uppercase() + &part.name[1..];
    let answer = reference(&schema_name(of));
    let (verb, action, key) = match part.face {
        Face::Approval | Face::EphemeralContainers | Face::Resize | Face::Scale => {
            return Some(object(kind, &suffix, of));
        }
        Face::Binding | Face::Eviction | Face::Token => ("create", "post", "post"),
        Face::Finalizers => ("replace", "put", "put"),
        Face::Node => return None,
    };
    let body = Some(body("*/*", &answer));
    let mut made = operation(kind, verb, &scope(kind), action, &writing(), body, &answer);
    made["operationId"] = format!("{}{suffix}", made["operationId"].as_str().unwrap_or_default()).into();
    made["x-kubernetes-group-version-kind"] = group_version_kind(of, of.kind);
    Some(json!({ "parameters": path_parameters(kind, true), key: made }))
}

/// The routes of one object, or of its subresource.
fn object(kind: &Kind, subresource: &str, of: &Kind) -> Value {
    let answer = reference(&schema_name(of));
    let scope = scope(kind);
    let named = |verb: &str, action: &str, parameters: &[Value], body: Option<Value>, answer: &Value| {
        let mut made = operation(kind, verb, &scope, action, parameters, body, answer);
        let id = made["operationId"].as_str().unwrap_or_default().to_owned();
        made["operationId"] = format!("{id}{subresource}").into();
        made["x-kubernetes-group-version-kind"] = group_version_kind(of, of.kind);
        made
    };
    let patches = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH];
    let mut content = Map::new();
    content.extend(patches.iter().map(|media| ((*media).to_owned(), json!({ "schema": meta("Patch") }))));
    let patching = [writing(), parameters(&[FORCE])].concat();
    let mut routes = json!({
        "parameters": path_parameters(kind, true),
        "get": named("read", "get", &[], None, &answer),
        "put": named("replace", "put", &writing(), Some(body("*/*", &answer)), &answer),
        "patch": named("patch", "patch", &patching, Some(json!({ "content": content, "required": true })), &answer),
    });
    if subresource.is_empty() {
        let options = Some(body("*/*", &meta("DeleteOptions")));
        routes["delete"] = named("delete", "delete", &parameters(&DELETING), options, &meta("Status"));
    }
    routes
}

fn operation(
    kind: &Kind,
    verb: &str,
    scope: &str,
    action: &str,
    parameters: &[Value],
    request: Option<Value>,
    answer: &Value,
) -> Value {
    let group = group_id(kind);
    let mut operation = json!({
        "operationId": format!("{verb}{group}{scope}{}", kind.kind),
        "tags": [group_version(kind).replace('/', "_")],
        "parameters": parameters,
        "responses": { "200": { "description": "OK", "content": { "application/json": { "schema": answer } } } },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": group_version_kind(kind, kind.kind),
    });
    if let Some(request) = request {
        operation["requestBody"] = request;
    }
    operation
}

/// A subresource that answers with plain text or a stream.
fn text(kind: &Kind, id: &str, takes: &[(&str, &str, &str)]) -> Value {
    let parameters = [path_parameters(kind, true), parameters(takes)].concat();
    json!({
        "operationId": id,
        "tags": [group_version(kind).replace('/', "_")],
        "parameters": parameters,
        "responses": { "200": { "description": "OK", "content": { "*/*": { "schema": { "type": "string" } } } } },
        "x-kubernetes-action": "connect",
        "x-kubernetes-group-version-kind": group_version_kind(kind, kind.kind),
    })
}

fn scope(kind: &Kind) -> String {
    if kind.namespaced { "Namespaced".into() } else { String::new() }
}

/// `CoreV1`, `AppsV1`, `CoordinationV1`.
fn group_id(kind: &Kind) -> String {
    let package = match kind.group.split('.').next() {
        Some("") | None => "core",
        Some(package) => package,
    };
    [package, kind.version].iter().map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

fn body(media: &str, schema: &Value) -> Value {
    json!({ "content": { media: { "schema": schema } } })
}

fn writing() -> Vec<Value> {
    parameters(&[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION])
}

fn parameters(rows: &[(&str, &str, &str)]) -> Vec<Value> {
    rows.iter()
        .map(|(name, kind, description)| {
            json!({
                "name": name, "in": "query", "description": description,
                "schema": { "type": kind, "uniqueItems": true },
            })
        })
        .collect()
}

fn path_parameters(kind: &Kind, named: bool) -> Vec<Value> {
    let parameter = |name: &str, description: String| {
        json!({
            "name": name, "in": "path", "required": true, "description": description,
            "schema": { "type": "string", "uniqueItems": true },
        })
    };
    let mut list = Vec::new();
    if named {
        list.push(parameter("name", format!("name of the {}", kind.kind)));
    }
    if kind.namespaced {
        list.push(parameter(
            "namespace",
            "object name and auth scope, such as for teams and projects".into(),
        ));
    }
    list
}
