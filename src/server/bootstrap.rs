//! Bootstrap tokens as a form of bearer token: what their Secrets say.

use std::sync::Arc;

use crate::api::kinds;
use crate::authorization::bootstrap;
use crate::server::authentication::{Authenticated, TokenAuthenticator};
use crate::server::view::View;
use crate::time::WallTime;

/// Knows the bootstrap tokens of the cluster.
#[derive(Debug)]
pub struct BootstrapTokens {
    /// Where their Secrets are.
    pub view: Arc<View>,
    /// The wall clock.
    pub wall: fn() -> WallTime,
}

impl TokenAuthenticator for BootstrapTokens {
    fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, String> {
        let Some((id, secret)) = bootstrap::parse(token) else { return Ok(None) };
        let kind = kinds::by_kind("", "v1", "Secret").ok_or("no Secrets are served")?;
        let name = format!("{}{id}", bootstrap::NAME_PREFIX);
        let found = self.view.get(kind, bootstrap::NAMESPACE, &name);
        let found = found.ok_or("there is no such bootstrap token")?;
        let user = bootstrap::user(&found.value(), id, secret, (self.wall)())?;
        Ok(Some(Authenticated { user, audiences: audiences.to_vec() }))
    }
}
