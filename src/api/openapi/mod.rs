//! `OpenAPI` v3 documents, one per group and version, as kubectl reads them for `explain`, for `apply` and for its
//! own checks. Made on demand from the table of kinds; only their hashes are kept.

pub mod lists;
mod paths;
mod schemas;
pub mod v2;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::api::absent;
use crate::api::kinds::{Kind, served};
pub use crate::api::model::{duplicate_fields, unknown_fields};

/// The newest Kubernetes API whose types are served.
const API_VERSION: &str = "v1.36";
/// What the documents call themselves.
const TITLE: &str = "leasehold, a coordinator that speaks the Kubernetes API";

/// Hash of every document by its path. The documents depend on nothing but the program.
static HASHES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    group_versions()
        .into_iter()
        .chain(absent::group_versions().into_iter().map(|(group, version)| format!("apis/{group}/{version}")))
        .map(|path| (path.clone(), document(&path).map(|it| digest(&it)).unwrap_or_default()))
        .collect()
});

/// The body of `/openapi/v3`: where the document of each group and version is, with its hash.
pub fn index() -> Value {
    let paths: Map<String, Value> = HASHES
        .iter()
        .map(|(path, hash)| {
            (path.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }))
        })
        .collect();
    json!({ "paths": paths })
}

/// The hash of the document at a path such as `api/v1` or `apis/apps/v1`, also its `ETag`. A request that names another
/// hash is redirected to the one that has this.
pub fn hash(path: &str) -> Option<&'static str> {
    HASHES.get(path).map(String::as_str)
}

/// The body of `/openapi/v3/PATH`, about 300 kB of JSON; none for a path that nobody serves.
pub fn document(path: &str) -> Option<Vec<u8>> {
    let kinds: Vec<&'static Kind> = served().filter(|kind| group_version(kind) == path).collect();
    let mut routes = paths::paths(&kinds);
    if let Some((group, version)) = path.strip_prefix("apis/").and_then(|it| it.split_once('/')) {
        routes.extend(absent::of(group, version).map(paths::of_absent));
    }
    if routes.is_empty() {
        return None;
    }
    let document = json!({
        "openapi": "3.0.0",
        "info": { "title": TITLE, "version": API_VERSION },
        "paths": routes,
        "components": { "schemas": schemas::schemas(&kinds) },
    });
    Some(document.to_string().into_bytes())
}

fn group_versions() -> Vec<String> {
    let mut paths: Vec<String> = served().map(group_version).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// `api/v1` or `apis/GROUP/VERSION`.
fn group_version(kind: &Kind) -> String {
    if kind.group.is_empty() {
        format!("api/{}", kind.version)
    } else {
        format!("apis/{}/{}", kind.group, kind.version)
    }
}

/// The name of a kind's schema and of its list's, e.g. `io.k8s.api.apps.v1.DaemonSet`.
fn schema_name(kind: &Kind) -> String {
    let package = match kind.group.split('.').next() {
        Some("") | None => "core",
        Some(package) => package,
    };
    format!("io.k8s.api.{package}.{}.{}", kind.version, kind.kind)
}

/// The mark by which kubectl finds schemas and operations.
fn group_version_kind(kind: &Kind, name: &str) -> Value {
    json!({ "group": kind.group, "version": kind.version, "kind": name })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#{}/{schema}", crate::api::model::SCHEMAS) })
}

fn digest(document: &[u8]) -> String {
    Sha256::digest(document).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02X}").expect("writing to a string never fails");
        text
    })
}

#[cfg(test)]
mod tests;
