//! Tokens of ServiceAccounts: issued for an account, perhaps bound to a Pod, Secret or Node, and good as long as all of
//! these live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::kinds;
use crate::authorization::rbac::ACCOUNT_PREFIX;
use crate::authorization::{AUTHENTICATED, User};
use crate::coordinator::state::Object;
use crate::server::authentication::{Authenticated, TokenAuthenticator};
use crate::server::tokens::{Signer, TokenError};
use crate::server::view::View;
use crate::time::WallTime;

/// Who issues tokens, and for whom they are good where nobody else is named. As upstream's default.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The group of all ServiceAccounts; with a colon and a namespace, that of its accounts.
pub const ACCOUNTS: &str = "system:serviceaccounts";

/// A token outlives the end that its account or Pod was given by so much, as upstream's.
const LEEWAY: Duration = Duration::from_mins(1);

/// The cluster's tokens.
#[derive(Debug)]
pub struct Accounts {
    /// Signs them.
    pub signer: Signer,
    /// What lives.
    pub view: Arc<View>,
    /// The wall clock.
    pub wall: fn() -> WallTime,
    /// A fresh id for each token.
    pub token_id: fn() -> String,
}

/// What a token is to say.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// The account.
    pub account: &'a Object,
    /// For whom it is good.
    pub audiences: &'a [String],
    /// How long it is good.
    pub seconds: i64,
    /// What it dies with, by the name of its claim: `pod`, `secret`, `node`; a Pod's node comes with it.
    pub bound: &'a [(&'static str, Arc<Object>)],
}

/// A token, and until when it is good.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// RFC 3339.
    pub until: String,
}

impl Accounts {
    /// A new token.
    pub fn issue(&self, grant: &Grant<'_>) -> Result<Issued, String> {
        let now = (self.wall)().0;
        let until = now
            .checked_add(Duration::from_secs(grant.seconds.max(0) as u64))
            .map_err(|_| "the token would outlast the calendar".to_owned())?;
        let key = &grant.account.key;
        let named = |object: &Object| json!({ "name": &*object.key.name, "uid": object.uid });
        let mut own = json!({ "namespace": &*key.namespace, "serviceaccount": named(grant.account) });
        for (claim, object) in grant.bound {
            own[*claim] = named(object);
        }
        let claims = json!({
            "iss": ISSUER, "sub": user_name(&key.namespace, &key.name), "aud": grant.audiences,
            "iat": now.as_second(), "nbf": now.as_second(), "exp": until.as_second(),
            "jti": (self.token_id)(), "kubernetes.io": own,
        });
        Ok(Issued { token: self.signer.sign(&claims)?, until: WallTime(until).seconds() })
    }

    /// `/.well-known/openid-configuration`
    pub fn issuer(&self, address: &str) -> Value {
        json!({
            "issuer": ISSUER, "jwks_uri": format!("https://{address}/openid/v1/jwks"),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// The object that a claim names, if it is the same one and has not come to its end.
    fn living(&self, kind: &str, namespace: &str, claim: &Value) -> Result<Arc<Object>, Dead> {
        let text = |field: &str| claim[field].as_str().unwrap_or_default();
        let row = kinds::by_kind("", "v1", kind).expect("core kinds are rows of the table");
        let object = self.view.get(row, namespace, text("name")).ok_or(Dead::Absent)?;
        if object.uid != text("uid") {
            return Err(Dead::Other { found: object.uid.clone(), claimed: text("uid").into() });
        }
        let ends = object.value()["metadata"]["deletionTimestamp"].as_str().and_then(WallTime::parse);
        let is_over =
            ends.is_some_and(|at| (self.wall)().0.duration_since(at.0).as_secs() > LEEWAY.as_secs() as i64);
        if is_over { Err(Dead::Ended) } else { Ok(object) }
    }

    fn check_living(&self, own: &Value) -> Result<(), String> {
        let namespace = own["namespace"].as_str().unwrap_or_default();
        self.living("ServiceAccount", namespace, &own["serviceaccount"]).map_err(|dead| match dead {
            Dead::Absent => {
                let name = own["serviceaccount"]["name"].as_str().unwrap_or_default();
                format!("serviceaccounts {name:?} not found")
            }
            Dead::Other { found, claimed } => {
                format!("service account UID ({found}) does not match claim ({claimed})")
            }
            Dead::Ended => {
                format!("service account {namespace}/{} has been deleted", own["serviceaccount"]["name"])
            }
        })?;
        let bound =
            [("secret", "Secret", true), ("pod", "Pod", true), ("node", "Node", own["pod"].is_null())];
        for (claim, kind, counts) in bound {
            if own[claim].is_null() || !counts {
                continue;
            }
            self.living(kind, namespace, &own[claim]).map_err(|dead| match dead {
                Dead::Absent | Dead::Ended => "service account token has been invalidated".to_owned(),
                Dead::Other { found, claimed } => {
                    format!(
                        "{claim} UID ({found}) does not match service account {claim} ref claim ({claimed})"
                    )
                }
            })?;
        }
        Ok(())
    }
}

/// Why an object that a claim names does not count.
enum Dead {
    Absent,
    Other { found: String, claimed: String },
    Ended,
}

impl TokenAuthenticator for Accounts {
    fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, String> {
        let claims = match self.signer.verify(token) {
            Ok(claims) => claims,
            Err(TokenError::Form) => return Ok(None),
            Err(error @ TokenError::Signature) => return Err(error.to_string()),
        };
        if claims["iss"] != ISSUER {
            return Ok(None);
        }
        let now = (self.wall)().0.as_second();
        if claims["exp"].as_i64().is_none_or(|until| until <= now) {
            return Err("service account token has expired".into());
        }
        if claims["nbf"].as_i64().is_some_and(|from| from > now) {
            return Err("service account token is not valid yet".into());
        }
        let good_for = common_audiences(&claims["aud"], audiences)?;
        let own = &claims["kubernetes.io"];
        self.check_living(own)?;
        Ok(Some(Authenticated { user: user(own, &claims["jti"]), audiences: good_for }))
    }
}

fn common_audiences(stated: &Value, asked: &[String]) -> Result<Vec<String>, String> {
    let own = [ISSUER.to_owned()];
    let asked = if asked.is_empty() { &own } else { asked };
    let stated: Vec<&str> = stated.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let common: Vec<String> = asked.iter().filter(|one| stated.contains(&one.as_str())).cloned().collect();
    if common.is_empty() {
        return Err(format!("token audiences {stated:?} is invalid for the target audiences {asked:?}"));
    }
    Ok(common)
}

/// `system:serviceaccount:NAMESPACE:NAME`
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("{ACCOUNT_PREFIX}{namespace}:{name}")
}

/// Namespace and name of the account that a user is.
pub fn account_of(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// What every account of a namespace is in.
pub fn groups(namespace: &str) -> Vec<String> {
    vec![ACCOUNTS.into(), format!("{ACCOUNTS}:{namespace}"), AUTHENTICATED.into()]
}

fn user(own: &Value, token_id: &Value) -> User {
    let text = |pointer: &str| own.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let namespace = text("/namespace").unwrap_or_default();
    let mut extra = BTreeMap::new();
    let credential = token_id.as_str().map(|id| format!("JTI={id}"));
    for (key, value) in [
        ("credential-id", credential),
        ("node-name", text("/node/name")),
        ("node-uid", text("/node/uid")),
        ("pod-name", text("/pod/name")),
        ("pod-uid", text("/pod/uid")),
    ] {
        extra.extend(value.map(|value| (format!("authentication.kubernetes.io/{key}"), vec![value])));
    }
    User {
        name: user_name(&namespace, &text("/serviceaccount/name").unwrap_or_default()),
        uid: text("/serviceaccount/uid").unwrap_or_default(),
        groups: groups(&namespace),
        extra,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_accounts_are_told_apart() {
        assert_eq!(account_of(&user_name("a", "b")), Some(("a", "b")));
        for name in
            ["ann", "system:serviceaccount:a", "system:serviceaccount::b", "system:serviceaccount:a:b:c"]
        {
            assert_eq!(account_of(name), None, "{name}");
        }
        assert_eq!(
            groups("a"),
            ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
        );
    }

    #[test]
    fn a_token_is_good_for_those_whom_it_names() {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let stated = json!(["a", "b"]);
        assert_eq!(common_audiences(&stated, &list(&["b", "c"])).unwrap(), ["b"]);
        assert!(common_audiences(&stated, &[]).unwrap_err().contains("kubernetes.default.svc"));
        assert_eq!(common_audiences(&json!([ISSUER]), &[]).unwrap(), [ISSUER]);
    }
}
