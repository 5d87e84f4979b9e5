//! Discovery documents, made from the table of kinds.

use serde_json::{Value, json};

use super::negotiate::{Alternative, alternatives};
use super::reply::Reply;
use crate::api::absent;
use crate::api::kinds::{Kind, served};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

fn verbs(kind: &Kind) -> &'static [&'static str] {
    if kind.is_review() { &["create"] } else { &VERBS }
}

/// Name, kind and verbs of each part of a kind's objects, by name.
type Part = (&'static str, &'static Kind, &'static [&'static str]);

fn parts(kind: &'static Kind) -> Vec<Part> {
    let mut found: Vec<Part> =
        kind.parts.iter().map(|part| (part.name, part.kind.unwrap_or(kind), part.verbs)).collect();
    if kind.has_status {
        found.push(("status", kind, STATUS_VERBS));
    }
    found.sort_by_key(|(name, _, _)| *name);
    found
}

/// Groups and their versions in the order of the table.
fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    for kind in served() {
        if !found.contains(&(kind.group, kind.version)) {
            found.push((kind.group, kind.version));
        }
    }
    found.extend(absent::group_versions());
    found
}

fn of(group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    served().filter(move |kind| kind.group == group && kind.version == version)
}

/// `/api/v1`, `/apis/GROUP/VERSION`
pub fn resources(group: &str, version: &str) -> Value {
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut resources = Vec::new();
    for kind in of(group, version) {
        let mut resource = json!({
            "name": kind.plural, "singularName": kind.singular(), "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": verbs(kind),
        });
        if !kind.short_names.is_empty() {
            resource["shortNames"] = kind.short_names.into();
        }
        if !kind.categories.is_empty() {
            resource["categories"] = kind.categories.into();
        }
        resources.push(resource);
        for (name, of, verbs) in parts(kind) {
            let mut resource = json!({
                "name": format!("{}/{name}", kind.plural), "singularName": "",
                "namespaced": kind.namespaced, "kind": of.kind, "verbs": verbs,
            });
            if (of.group, of.version) != (kind.group, kind.version) {
                resource["group"] = of.group.into();
                resource["version"] = of.version.into();
            }
            resources.push(resource);
        }
    }
    resources.extend(absent::of(group, version).map(absent::Absent::resource));
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    })
}

/// `/apis/GROUP`; none when nothing is served there.
pub fn group(name: &str) -> Option<Value> {
    let versions: Vec<Value> = group_versions()
        .into_iter()
        .filter(|(group, _)| *group == name)
        .map(|(group, version)| json!({ "groupVersion": format!("{group}/{version}"), "version": version }))
        .collect();
    let preferred = versions.first()?.clone();
    Some(json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": versions, "preferredVersion": preferred,
    }))
}

fn named_groups() -> Vec<&'static str> {
    let mut found: Vec<&str> = Vec::new();
    for (group, _) in group_versions() {
        if !group.is_empty() && !found.contains(&group) {
            found.push(group);
        }
    }
    found
}

/// `/apis`, in the form that the client wants.
pub fn groups(accept: Option<&str>) -> Reply {
    aggregated(accept, &named_groups()).unwrap_or_else(|| {
        let groups: Vec<Value> = named_groups()
            .into_iter()
            .filter_map(group)
            .map(|mut group| {
                group.as_object_mut().map(|fields| (fields.remove("kind"), fields.remove("apiVersion")));
                group
            })
            .collect();
        let body = json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups });
        Reply::json(200, body.to_string())
    })
}

/// `/api`, in the form that the client wants.
pub fn core_versions(accept: Option<&str>, address: &str) -> Reply {
    aggregated(accept, &[""]).unwrap_or_else(|| {
        let body = json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address }],
        });
        Reply::json(200, body.to_string())
    })
}

/// Everything about these groups in one document, for clients that ask for it before the plain form.
fn aggregated(accept: Option<&str>, groups: &[&str]) -> Option<Reply> {
    let wanted = alternatives(accept.unwrap_or_default());
    let first =
        wanted.iter().find(|a| matches!(a.media_type, "application/json" | "application/*" | "*/*"))?;
    let version = aggregated_version(first)?;
    let items: Vec<Value> = groups.iter().map(|group| aggregated_group(group)).collect();
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    });
    let media_type = match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    Some(Reply { media_type, ..Reply::json(200, body.to_string()) })
}

fn aggregated_version(alternative: &Alternative<'_>) -> Option<&'static str> {
    let asked = alternative.parameter("as") == Some("APIGroupDiscoveryList")
        && alternative.parameter("g") == Some("apidiscovery.k8s.io");
    match alternative.parameter("v") {
        Some("v2") if asked => Some("v2"),
        Some("v2beta1") if asked => Some("v2beta1"),
        _ => None,
    }
}

fn aggregated_group(group: &str) -> Value {
    let mut versions = Vec::new();
    for (_, version) in group_versions().into_iter().filter(|(name, _)| *name == group) {
        let absent = absent::of(group, version).map(absent::Absent::aggregated);
        let resources: Vec<Value> = of(group, version).map(aggregated_resource).chain(absent).collect();
        versions.push(json!({ "version": version, "resources": resources, "freshness": "Current" }));
    }
    let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
    json!({ "metadata": metadata, "versions": versions })
}

fn aggregated_resource(kind: &'static Kind) -> Value {
    let named = |kind: &Kind| json!({ "group": kind.group, "version": kind.version, "kind": kind.kind });
    let own = named(kind);
    let subresources: Vec<Value> = parts(kind)
        .into_iter()
        .map(|(name, of, verbs)| json!({ "subresource": name, "responseKind": named(of), "verbs": verbs }))
        .collect();
    let mut resource = json!({
        "resource": kind.plural, "responseKind": own,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular(), "verbs": verbs(kind),
    });
    for (field, list) in [("shortNames", kind.short_names), ("categories", kind.categories)] {
        if !list.is_empty() {
            resource[field] = list.into();
        }
    }
    if !subresources.is_empty() {
        resource["subresources"] = subresources.into();
    }
    resource
}

/// `/version`. The version is the Kubernetes API's that is spoken, so that clients judge their skew by it.
pub fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": concat!("v1.36.0+leasehold.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `/`
pub fn paths() -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
    for (group, version) in group_versions() {
        if !group.is_empty() {
            paths.extend([format!("/apis/{group}"), format!("/apis/{group}/{version}")]);
        }
    }
    paths.extend(
        [
            "/.well-known/openid-configuration",
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    json!({ "paths": paths })
}
