//! What may be asked of the endpoint, and what it answers. Bodies arrive decoded: the server parses JSON or YAML once,
//! outside the writer, and hands over values. It has their text, and so it tells of unknown and doubled fields; what a
//! patch makes is known only here, and is judged here.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

use crate::api::kinds::Kind;
use crate::api::patch::Patch;
use crate::api::status::Status;
use crate::coordinator::state::{Draft, Object};

/// One write.
#[derive(Clone, Debug)]
pub struct Command {
    /// The kind it is about.
    pub kind: &'static Kind,
    /// Namespace of the path, empty for cluster-scoped kinds.
    pub namespace: String,
    /// What to do.
    pub action: Action,
    /// Everything but the write (`dryRun=All`).
    pub dry_run: bool,
    /// What becomes of unknown fields that a patch brings (`fieldValidation`).
    pub field_validation: FieldValidation,
    /// Who looks at what would be written, before it is.
    pub guard: Option<Arc<dyn Guard>>,
    /// Who writes, as `metadata.managedFields` names it; empty for nobody in particular.
    pub manager: String,
}

/// Looks at a write once it is known what it makes of the object, which for a patch is only then. It stands for
/// whoever asked: what they may write depends on what is in it.
pub trait Guard: Debug + Send + Sync {
    /// Lets it pass, or refuses it.
    fn check(&self, write: &Intended<'_>, draft: &Draft<'_>) -> Result<(), Status>;
}

/// A write that has not been made yet. It has its defaults, and is not validated.
#[derive(Clone, Copy, Debug)]
pub struct Intended<'a> {
    /// The row of the object.
    pub kind: &'static Kind,
    /// Its namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// Its name, empty where it is not chosen yet.
    pub name: &'a str,
    /// Which part of it is written.
    pub part: Written,
    /// As it is; none for a new one.
    pub old: Option<&'a Value>,
    /// As it would be; none for a deletion.
    pub new: Option<&'a Value>,
}

/// The part of an object that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// One that the path names.
    Part(Subresource),
    /// `pods/NAME/binding`.
    Binding,
}

/// What becomes of unknown fields. They are stored in any case, unless they are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Nothing is said.
    Ignore,
    /// A warning for each.
    #[default]
    Warn,
    /// They are refused.
    Strict,
}

impl Command {
    /// A command that is no dry run and warns of unknown fields.
    pub fn new(kind: &'static Kind, namespace: impl Into<String>, action: Action) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            action,
            dry_run: false,
            field_validation: FieldValidation::default(),
            guard: None,
            manager: String::new(),
        }
    }
}

/// The verb with its arguments.
#[derive(Clone, Debug)]
pub enum Action {
    /// POST of a new object; its name or generateName is in the body.
    Create {
        /// The object.
        body: Value,
    },
    /// PUT of a whole object.
    Update {
        /// Name of the path.
        name: String,
        /// Which part of the object the path names.
        subresource: Subresource,
        /// The object.
        body: Value,
    },
    /// PATCH.
    Patch {
        /// Name of the path.
        name: String,
        /// Which part of the object the path names.
        subresource: Subresource,
        /// The change ([`crate::api::patch::Patch::parse`]).
        patch: Patch,
    },
    /// PATCH with a configuration to apply (server-side apply). It may create the object.
    Apply {
        /// Name of the path.
        name: String,
        /// Which part of the object the path names.
        subresource: Subresource,
        /// What the applier wants.
        configuration: Value,
        /// Whether fields of others are taken from them.
        force: bool,
        /// What to answer where the object would be made, when whoever asks may not.
        not_to_be_made: Option<Box<Status>>,
    },
    /// DELETE of one object.
    Delete {
        /// Name of the path.
        name: String,
        /// From the body or the query.
        options: DeleteOptions,
    },
    /// POST of `pods/NAME/binding`.
    Bind {
        /// Name of the path.
        name: String,
        /// The Binding.
        body: Value,
    },
    /// POST of `pods/NAME/eviction`.
    Evict {
        /// Name of the path.
        name: String,
        /// The Eviction.
        body: Value,
        /// Its `deleteOptions`.
        options: Box<DeleteOptions>,
    },
    /// Removes an object that is still at this version, and is no error when it is not: how Events end.
    Expire {
        /// Name of the object.
        name: String,
        /// The version that has become too old.
        resource_version: u64,
    },
}

/// The part of an object that a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// The object itself: all but `status` where the kind has that subresource.
    Main,
    /// `status`, and what upstream lets travel with it.
    Status,
    /// `spec.finalizers` of a Namespace.
    Finalize,
    /// The conditions `Approved` and `Denied` of a `CertificateSigningRequest`.
    Approval,
    /// `spec.ephemeralContainers` of a Pod.
    EphemeralContainers,
    /// The resources of a Pod's containers.
    Resize,
    /// `spec.replicas`, by way of a Scale.
    Scale,
}

impl Subresource {
    /// The last part of the path, empty for the object itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Finalize => "finalize",
            Self::Approval => "approval",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Resize => "resize",
            Self::Scale => "scale",
        }
    }
}

/// `metav1.DeleteOptions`, as far as it concerns the commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds that a Pod's containers get to end; negative counts as 1.
    pub grace_period_seconds: Option<i64>,
    /// The object must have this uid.
    pub uid: Option<String>,
    /// The object must be at this version (opaque text, compared as such).
    pub resource_version: Option<String>,
    /// What becomes of dependents.
    pub propagation: Option<Propagation>,
}

/// What becomes of the objects that a deleted object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go first; the object stays, with finalizer `foregroundDeletion`, until they are gone.
    Foreground,
    /// They go later.
    Background,
    /// They stay and lose the reference; the object has finalizer `orphan` until that is done.
    Orphan,
}

/// The answer to a command that was done.
#[derive(Clone, Debug)]
pub struct Reply {
    /// What happened; [`Outcome::code`] is the HTTP status.
    pub outcome: Outcome,
    /// The body.
    pub body: Body,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// What a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new object (or a binding).
    Created,
    /// A new version.
    Updated,
    /// Nothing differed, so nothing was written.
    Unchanged,
    /// The object is gone.
    Deleted,
    /// The object has a deletionTimestamp and stays for now.
    Terminating,
}

impl Outcome {
    /// 201 or 200.
    pub fn code(self) -> u16 {
        match self {
            Self::Created => 201,
            Self::Updated | Self::Unchanged | Self::Deleted | Self::Terminating => 200,
        }
    }
}

/// What the wire carries back.
#[derive(Clone, Debug)]
pub enum Body {
    /// The object as it stands now, or as it stood last.
    Object(Arc<Object>),
    /// A `metav1.Status` of success.
    Status(Value),
}

/// The source of what cannot be computed.
pub trait Entropy {
    /// A fresh UUID, version 4, in lower case.
    fn uid(&mut self) -> String;
    /// Five characters of `bcdfghjklmnpqrstvwxz2456789`, for `generateName`.
    fn suffix(&mut self) -> String;
}
