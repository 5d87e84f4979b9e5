//! Messages of the groups that say who may do what.

use super::Shape::{Bool, Bytes, Int, Map, Struct, Text, Time};
use super::{Field, List, METADATA, Shape, TEXT_MAP, TEXTS};

const EXTRA: Shape = Map(&Struct(&[(1, "items", TEXTS)]));

const USER_INFO: Shape =
    Struct(&[(1, "username", Text), (2, "uid", Text), (3, "groups", TEXTS), (4, "extra", EXTRA)]);

const BOUND_OBJECT: Shape =
    Struct(&[(1, "kind", Text), (2, "apiVersion", Text), (3, "name", Text), (4, "uid", Text)]);

const RESOURCE_ATTRIBUTES: Shape = Struct(&[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
]);

const PATH_ATTRIBUTES: Shape = Struct(&[(1, "path", Text), (2, "verb", Text)]);

const ACCESS_STATUS: Field = (
    3,
    "status",
    Struct(&[(1, "allowed", Bool), (2, "reason", Text), (3, "evaluationError", Text), (4, "denied", Bool)]),
);

const ACCESS_REVIEW: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        Struct(&[
            (1, "resourceAttributes", RESOURCE_ATTRIBUTES),
            (2, "nonResourceAttributes", PATH_ATTRIBUTES),
            (3, "user", Text),
            (4, "groups", TEXTS),
            (5, "extra", EXTRA),
            (6, "uid", Text),
        ]),
    ),
    ACCESS_STATUS,
];

const CONDITIONS: Shape = List(&Struct(&[
    (1, "type", Text),
    (2, "reason", Text),
    (3, "message", Text),
    (4, "lastUpdateTime", Time),
    (5, "lastTransitionTime", Time),
    (6, "status", Text),
]));

const CERTIFICATE_REQUEST: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        Struct(&[
            (1, "request", Bytes),
            (2, "username", Text),
            (3, "uid", Text),
            (4, "groups", TEXTS),
            (5, "usages", TEXTS),
            (6, "extra", EXTRA),
            (7, "signerName", Text),
            (8, "expirationSeconds", Int),
        ]),
    ),
    (3, "status", Struct(&[(1, "conditions", CONDITIONS), (2, "certificate", Bytes)])),
];

const RULES: Shape = List(&Struct(&[
    (1, "verbs", TEXTS),
    (2, "apiGroups", TEXTS),
    (3, "resources", TEXTS),
    (4, "resourceNames", TEXTS),
    (5, "nonResourceURLs", TEXTS),
]));

const PATH_RULES: Shape = List(&Struct(&[(1, "verbs", TEXTS), (2, "nonResourceURLs", TEXTS)]));

const REQUIREMENTS: Shape = List(&Struct(&[(1, "key", Text), (2, "operator", Text), (3, "values", TEXTS)]));

const SELECTORS: Shape =
    List(&Struct(&[(1, "matchLabels", TEXT_MAP), (2, "matchExpressions", REQUIREMENTS)]));

const BINDING: &[Field] = &[
    METADATA,
    (
        2,
        "subjects",
        List(&Struct(&[(1, "kind", Text), (2, "apiGroup", Text), (3, "name", Text), (4, "namespace", Text)])),
    ),
    (3, "roleRef", Struct(&[(1, "apiGroup", Text), (2, "kind", Text), (3, "name", Text)])),
];

pub(super) fn message(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "CertificateSigningRequest" => CERTIFICATE_REQUEST,
        "TokenRequest" => &[
            METADATA,
            (
                2,
                "spec",
                Struct(&[
                    (1, "audiences", TEXTS),
                    (3, "boundObjectRef", BOUND_OBJECT),
                    (4, "expirationSeconds", Int),
                ]),
            ),
            (3, "status", Struct(&[(1, "token", Text), (2, "expirationTimestamp", Time)])),
        ],
        "TokenReview" => &[
            METADATA,
            (2, "spec", Struct(&[(1, "token", Text), (2, "audiences", TEXTS)])),
            (
                3,
                "status",
                Struct(&[
                    (1, "authenticated", Bool),
                    (2, "user", USER_INFO),
                    (3, "error", Text),
                    (4, "audiences", TEXTS),
                ]),
            ),
        ],
        "SelfSubjectReview" => &[METADATA, (2, "status", Struct(&[(1, "userInfo", USER_INFO)]))],
        "SelfSubjectAccessReview" | "SubjectAccessReview" | "LocalSubjectAccessReview" => ACCESS_REVIEW,
        "SelfSubjectRulesReview" => &[
            METADATA,
            (2, "spec", Struct(&[(1, "namespace", Text)])),
            (
                3,
                "status",
                Struct(&[
                    (1, "resourceRules", RULES),
                    (2, "nonResourceRules", PATH_RULES),
                    (3, "incomplete", Bool),
                    (4, "evaluationError", Text),
                ]),
            ),
        ],
        "Role" => &[METADATA, (2, "rules", RULES)],
        "ClusterRole" => &[
            METADATA,
            (2, "rules", RULES),
            (3, "aggregationRule", Struct(&[(1, "clusterRoleSelectors", SELECTORS)])),
        ],
        "RoleBinding" | "ClusterRoleBinding" => BINDING,
        _ => return None,
    })
}
