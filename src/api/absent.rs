//! Resources of upstream that leasehold does not have by design. Discovery names them with the one verb `create`, so
//! that clients ask, and are told why not in words of leasehold's own.

use serde_json::{Value, json};

use crate::api::status::Status;

/// One such resource, of version `v1` and cluster scope.
#[derive(Debug)]
pub struct Absent {
    /// Its API group.
    pub group: &'static str,
    /// E.g. `CustomResourceDefinition`.
    pub kind: &'static str,
    /// As paths name it.
    pub plural: &'static str,
    short_names: &'static [&'static str],
    why: &'static str,
}

/// The version of all of them.
pub const VERSION: &str = "v1";

const NO_DEFINITIONS: &str = "leasehold serves no CustomResourceDefinitions: the kinds it serves are fixed";
const NO_WEBHOOKS: &str = "leasehold calls no admission webhooks and evaluates no admission policies";

const fn admission(kind: &'static str, plural: &'static str) -> Absent {
    Absent { group: "admissionregistration.k8s.io", kind, plural, short_names: &[], why: NO_WEBHOOKS }
}

static ABSENT: [Absent; 5] = [
    Absent {
        group: "apiextensions.k8s.io",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        short_names: &["crd", "crds"],
        why: NO_DEFINITIONS,
    },
    admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
    admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
    admission("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
    admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
];

/// The resource that a path names, if it is one of these.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Absent> {
    of(group, version).find(|absent| absent.plural == plural)
}

/// Every one.
pub fn all() -> impl Iterator<Item = &'static Absent> {
    ABSENT.iter()
}

/// All of a group and version.
pub fn of(group: &str, version: &str) -> impl Iterator<Item = &'static Absent> {
    let is_asked = (group, version);
    ABSENT.iter().filter(move |absent| (absent.group, VERSION) == is_asked)
}

/// Their groups and versions.
pub fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut found: Vec<_> = ABSENT.iter().map(|absent| (absent.group, VERSION)).collect();
    found.dedup();
    found
}

impl Absent {
    /// 404, with the reason.
    pub fn refusal(&self) -> Status {
        let details = json!({ "group": self.group, "kind": self.plural });
        Status { details, ..Status::new(404, "NotFound", self.why) }
    }

    /// As a discovery document of one version shows it.
    pub fn resource(&self) -> Value {
        let mut resource = json!({
            "name": self.plural, "singularName": self.kind.to_lowercase(), "namespaced": false, "kind": self.kind,
            "verbs": ["create"],
        });
        self.name_shortly(&mut resource);
        resource
    }

    /// As the one document of all groups shows it.
    pub fn aggregated(&self) -> Value {
        let mut resource = json!({
            "resource": self.plural, "scope": "Cluster", "singularResource": self.kind.to_lowercase(),
            "responseKind": { "group": self.group, "version": VERSION, "kind": self.kind }, "verbs": ["create"],
        });
        self.name_shortly(&mut resource);
        resource
    }

    fn name_shortly(&self, resource: &mut Value) {
        if !self.short_names.is_empty() {
            resource["shortNames"] = self.short_names.into();
        }
    }
}
