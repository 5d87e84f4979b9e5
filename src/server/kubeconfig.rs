//! Kubeconfig files, for kubectl and for agents.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tls::{Identity, TlsError, write_private};

/// What a kubeconfig says.
#[derive(Clone, Debug)]
pub struct Kubeconfig<'a> {
    /// `https://ADDRESS:PORT`
    pub server: &'a str,
    /// Certificate of the cluster's authority.
    pub ca_pem: &'a str,
    /// Name of the user entry.
    pub user: &'a str,
    /// The user's certificate and key.
    pub identity: &'a Identity,
}

impl Kubeconfig<'_> {
    /// The file's text.
    pub fn text(&self) -> String {
        let base64 = |pem: &str| STANDARD.encode(pem);
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: leasehold\n  cluster:\n    server: {server}\n    \
             certificate-authority-data: {ca}\nusers:\n- name: {user}\n  user:\n    client-certificate-data: \
             {certificate}\n    client-key-data: {key}\ncontexts:\n- name: leasehold\n  context:\n    cluster: \
             leasehold\n    user: {user}\ncurrent-context: leasehold\n",
            server = quoted(self.server),
            ca = base64(self.ca_pem),
            user = quoted(self.user),
            certificate = base64(&self.identity.certificate_pem),
            key = base64(&self.identity.key_pem),
        )
    }

    /// Writes the file, readable by its owner only, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), TlsError> {
        write_private(path, &self.text())
    }
}
