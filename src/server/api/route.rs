//! From a path to what it names.

use super::query::decode;
use crate::api::absent::{self, Absent};
use crate::api::kinds::{self, Kind};

/// What a path names.
#[derive(Debug)]
pub enum Route {
    /// `/`
    Paths,
    /// `/version`
    Version,
    /// `/healthz`, `/livez`, `/readyz`, and single checks below them.
    Health {
        /// `healthz`, `livez`, `readyz`
        endpoint: String,
        /// The check asked for, if one.
        check: Option<String>,
    },
    /// `/openid/v1/jwks`: by which keys tokens are known.
    TokenKeys,
    /// `/.well-known/openid-configuration`: who issues them.
    TokenIssuer,
    /// `/metrics`
    Metrics,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`
    Resources {
        /// Empty for core.
        group: String,
        /// E.g. `v1`.
        version: String,
    },
    /// `/openapi/v2`
    OpenApiV2,
    /// `/openapi/v3`, `/openapi/v3/PATH`
    OpenApi(Option<String>),
    /// Objects of a kind.
    Objects(Target),
    /// What upstream has and leasehold does not, by design.
    Absent(&'static Absent),
    /// Nothing that is served here.
    Unknown,
}

/// A collection, an object or a part of an object.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its row.
    pub kind: &'static Kind,
    /// Namespace of the path; none for cluster-scoped kinds, and for lists over all namespaces.
    pub namespace: Option<String>,
    /// None for the collection.
    pub name: Option<String>,
    /// `status`, `log`, `exec` …
    pub subresource: Option<String>,
    /// The old form of a watch: `/api/v1/watch/…`.
    pub watch: bool,
}

impl Target {
    /// The namespace as keys have it: empty for none.
    pub fn namespace_text(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// Whether requests are passed on to a node, Pod or Service.
    pub fn is_passed_on(&self) -> bool {
        let has_server = self.kind.group.is_empty() && matches!(self.kind.kind, "Node" | "Pod" | "Service");
        has_server && self.subresource.as_deref() == Some("proxy")
    }

    /// The name, empty for a collection.
    pub fn name_text(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

impl Route {
    /// Reads a path.
    pub fn parse(path: &str) -> Self {
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        match words[..] {
            [] => Self::Paths,
            ["version"] => Self::Version,
            ["openid", "v1", "jwks"] => Self::TokenKeys,
            [".well-known", "openid-configuration"] => Self::TokenIssuer,
            ["metrics"] => Self::Metrics,
            [endpoint @ ("healthz" | "livez" | "readyz")] => {
                Self::Health { endpoint: endpoint.into(), check: None }
            }
            [endpoint @ ("healthz" | "livez" | "readyz"), check] => {
                Self::Health { endpoint: endpoint.into(), check: Some(check.into()) }
            }
            ["openapi", "v2"] => Self::OpenApiV2,
            ["openapi", "v3"] => Self::OpenApi(None),
            ["openapi", "v3", ref rest @ ..] => Self::OpenApi(Some(rest.join("/"))),
            ["api"] => Self::CoreVersions,
            ["apis"] => Self::Groups,
            ["apis", group] => Self::Group(group.into()),
            ["api", version] => Self::Resources { group: String::new(), version: version.into() },
            ["apis", group, version] => Self::Resources { group: group.into(), version: version.into() },
            ["api", version, ref rest @ ..] => target("", version, rest),
            ["apis", group, version, ref rest @ ..] => target(group, version, rest),
            _ => Self::Unknown,
        }
    }
}

/// Whether any kind is served in this group (and version).
pub fn is_served(group: &str, version: Option<&str>) -> bool {
    kinds::served().any(|kind| kind.group == group && version.is_none_or(|version| kind.version == version))
        || absent::of(group, version.unwrap_or(absent::VERSION)).next().is_some()
}

fn target(group: &str, version: &str, words: &[&str]) -> Route {
    let (watch, words) = match words {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        _ => (false, words),
    };
    let (namespace, words) = match words {
        ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
            (Some((*namespace).to_owned()), rest)
        }
        _ => (None, words),
    };
    let (plural, name, subresource) = match words {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some((*name).to_owned()), None),
        [plural @ ("nodes" | "pods" | "services"), name, "proxy", ..] if group.is_empty() && !watch => {
            (plural, Some((*name).to_owned()), Some("proxy".to_owned()))
        }
        [plural, name, subresource] => (plural, Some((*name).to_owned()), Some((*subresource).to_owned())),
        _ => return Route::Unknown,
    };
    match kinds::by_resource(group, version, plural) {
        Some(kind) if kind.namespaced || namespace.is_none() => {
            if kind.namespaced && name.is_some() && namespace.is_none() {
                return Route::Unknown;
            }
            Route::Objects(Target { kind, namespace, name, subresource, watch })
        }
        _ => absent::find(group, version, plural).map_or(Route::Unknown, Route::Absent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> String {
        let route = Route::parse(path);
        let Route::Objects(Target { kind, namespace, name, subresource, watch }) = route else {
            return format!("{route:?}");
        };
        format!("{} ns={namespace:?} name={name:?} sub={subresource:?} watch={watch}", kind.plural)
    }

    #[test]
    fn paths_name_collections_objects_and_parts() {
        let none = "None";
        let expected = [
            ("/api/v1/pods", format!("pods ns={none} name={none} sub={none} watch=false")),
            (
                "/api/v1/namespaces/a%2Db/pods/x/log",
                "pods ns=Some(\"a-b\") name=Some(\"x\") sub=Some(\"log\") watch=false".into(),
            ),
            (
                "/api/v1/namespaces/a/status",
                "namespaces ns=None name=Some(\"a\") sub=Some(\"status\") watch=false".into(),
            ),
            ("/api/v1/namespaces/a", "namespaces ns=None name=Some(\"a\") sub=None watch=false".into()),
            (
                "/apis/apps/v1/watch/namespaces/a/daemonsets",
                "daemonsets ns=Some(\"a\") name=None sub=None watch=true".into(),
            ),
            ("/api/v1/namespaces/a/nodes/b", "Unknown".into()),
            ("/api/v1/pods/x", "Unknown".into()),
            ("/api/v1/frogs", "Unknown".into()),
            ("/apis/apps/v1/namespaces/a/daemonsets/x/y/z", "Unknown".into()),
        ];
        for (path, text) in expected {
            assert_eq!(shown(path), text, "{path}");
        }
    }
}
