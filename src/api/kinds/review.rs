//! Kinds that are asked and not kept: who one is, and what one may do. They are created only, and the answer is the
//! object with its status.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use schemars::{Schema, SchemaGenerator};

use super::Kind;
use crate::api::parts::BINDING;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

const fn cluster(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
) -> Kind {
    Kind { namespaced: false, ..Kind::plain(group, kind, plural, schema) }
}

pub(super) static REVIEWS: [Kind; 7] = [
    BINDING,
    cluster(
        AUTHENTICATION,
        "SelfSubjectReview",
        "selfsubjectreviews",
        SchemaGenerator::subschema_for::<SelfSubjectReview>,
    ),
    cluster(AUTHENTICATION, "TokenReview", "tokenreviews", SchemaGenerator::subschema_for::<TokenReview>),
    Kind::plain(
        AUTHORIZATION,
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
        SchemaGenerator::subschema_for::<LocalSubjectAccessReview>,
    ),
    cluster(
        AUTHORIZATION,
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        SchemaGenerator::subschema_for::<SelfSubjectAccessReview>,
    ),
    cluster(
        AUTHORIZATION,
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        SchemaGenerator::subschema_for::<SelfSubjectRulesReview>,
    ),
    cluster(
        AUTHORIZATION,
        "SubjectAccessReview",
        "subjectaccessreviews",
        SchemaGenerator::subschema_for::<SubjectAccessReview>,
    ),
];
