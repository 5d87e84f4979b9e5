//! Who asks: a client certificate, a bearer token, or nobody in particular; and as whom.
//!
//! A certificate that verified says it; where there is none, the [`TokenAuthenticator`]s are shown the bearer token in
//! turn. Who shows neither is anonymous.

use std::fmt::Debug;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap};

use crate::api::status::Status;
use crate::authorization::{AUTHENTICATED, User};
use crate::server::tls::Peer;

/// Longest token that is looked at.
const TOKEN_MAX: usize = 16 << 10;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// Whose it is; `system:authenticated` is added by the caller.
    pub user: User,
    /// For whom it is good, of those that were asked for.
    pub audiences: Vec<String>,
}

/// Knows one form of bearer token.
pub trait TokenAuthenticator: Debug + Send + Sync {
    /// Whose token it is. None for a token of another form; an error says why one of this form is not good (any more).
    /// `audiences` are those that the receiver goes by, none for the endpoint's own.
    fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, String>;
}

/// Everything by which somebody can show who they are.
#[derive(Clone, Debug, Default)]
pub struct Authenticators {
    /// Asked in turn.
    pub tokens: Vec<Arc<dyn TokenAuthenticator>>,
}

impl Authenticators {
    /// Who asks. Nobody in particular without certificate and token; 401 for a token that is not good.
    pub fn user(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Result<User, Status> {
        if let Some(peer) = peer {
            return Ok(of_peer(peer));
        }
        let Some(token) = bearer(headers) else { return Ok(User::anonymous()) };
        self.token(token, &[]).map(|known| known.user).map_err(|why| {
            tracing::debug!(why, "a bearer token is refused");
            unauthorized()
        })
    }

    /// Whose token it is, or why it is not good.
    pub fn token(&self, token: &str, audiences: &[String]) -> Result<Authenticated, String> {
        if token.len() > TOKEN_MAX {
            return Err("the token is too long".into());
        }
        for authenticator in &self.tokens {
            if let Some(mut known) = authenticator.authenticate(token, audiences)? {
                add_authenticated(&mut known.user.groups);
                return Ok(known);
            }
        }
        Err("unknown token".into())
    }
}

fn of_peer(peer: &Peer) -> User {
    let mut groups = peer.organizations.clone();
    add_authenticated(&mut groups);
    User { name: peer.common_name.clone(), groups, ..User::default() }
}

fn add_authenticated(groups: &mut Vec<String>) {
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.into());
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// 401
pub fn unauthorized() -> Status {
    Status::new(401, "Unauthorized", "Unauthorized")
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    #[derive(Debug)]
    struct Only(&'static str);

    impl TokenAuthenticator for Only {
        fn authenticate(&self, token: &str, _: &[String]) -> Result<Option<Authenticated>, String> {
            match token {
                "stale" => Err("it has ended".into()),
                token if token == self.0 => {
                    let user = User::new(token, &["g"]);
                    Ok(Some(Authenticated { user, audiences: Vec::new() }))
                }
                _ => Ok(None),
            }
        }
    }

    fn names(result: Result<User, Status>) -> String {
        match result {
            Ok(user) => format!("{} {}", user.name, user.groups.join(",")),
            Err(status) => status.code.to_string(),
        }
    }

    #[test]
    fn a_certificate_comes_before_a_token_and_nobody_is_anonymous() {
        let all = Authenticators { tokens: vec![Arc::new(Only("a")), Arc::new(Only("b"))] };
        let peer = Peer { common_name: "cert".into(), organizations: vec!["o".into()] };
        let ask = |peer, text: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.extend(text.map(|text| (AUTHORIZATION, HeaderValue::from_str(text).unwrap())));
            names(all.user(peer, &headers))
        };
        let cases = [
            (ask(None, None), "system:anonymous system:unauthenticated"),
            (ask(Some(&peer), None), "cert o,system:authenticated"),
            (ask(Some(&peer), Some("Bearer stale")), "cert o,system:authenticated"),
            (ask(None, Some("Bearer a")), "a g,system:authenticated"),
            (ask(None, Some("bearer  b")), "b g,system:authenticated"),
            (ask(None, Some("Bearer c")), "401"),
            (ask(None, Some("Bearer stale")), "401"),
            (ask(None, Some("Basic YTpi")), "system:anonymous system:unauthenticated"),
        ];
        for (got, expected) in cases {
            assert_eq!(got, expected);
        }
        assert!(all.token(&"x".repeat(TOKEN_MAX + 1), &[]).is_err());
    }
}
