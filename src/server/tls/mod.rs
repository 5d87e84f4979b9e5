//! The cluster's certificate authority, the certificates it issues, and who is at the other end of a connection.
//!
//! The authority lives in one directory: `ca.crt`, `ca.key`, and a `.crt` and `.key` for each certificate kept there;
//! all files 0600. A certificate is issued anew when it nears its end or no longer says what is wanted.
//!
//! A client certificate that does not verify does not end the handshake: the request is answered with 401, so that
//! the client is told why. [`Verifier::peer`] says who it is, if anybody.

mod authority;
mod certificate;
mod config;
#[cfg(test)]
mod tests;
mod tickets;
mod verifier;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub use authority::{Authority, client_request};
pub use certificate::{Peer, fingerprint, key_hash, key_hash_of_pem, subject, to_pem, validity};
pub use config::{client_config, pinning_client_config, server_config, unknown_client_config};
pub use tickets::Tickets;
pub use verifier::Verifier;

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of the nodes' agents.
pub const NODES: &str = "leasehold:nodes";
/// Who the coordinator is when it talks to a node: the only certificate a node accepts.
pub const PROXY_NAME: &str = "leasehold:coordinator-proxy";
/// Group of those who do what must be done once per cluster.
pub const STEWARDS: &str = "leasehold:stewards";
/// The administrator of the kubeconfig that is written on first start.
pub const ADMIN_NAME: &str = "leasehold-admin";

/// Why certificates cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: cannot {tried}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// `read`, `write` …
        tried: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error(
        "{path}: {detail}: restore it, or remove ca.crt and ca.key together to begin with a new authority"
    )]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A certificate cannot be made from what was asked.
    #[error("cannot issue a certificate for {subject}: {detail}")]
    Issue {
        /// Common name asked for.
        subject: String,
        /// Why not.
        detail: String,
    },
    /// PEM or key material cannot be used for TLS.
    #[error("TLS set-up: {0}")]
    Setup(String),
}

/// A certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be presented by a client.
    Client {
        /// Groups the client is in, two at most.
        organizations: Vec<String>,
    },
    /// To be presented by a server.
    Server {
        /// IP addresses and DNS names it answers to.
        names: Vec<String>,
    },
}

/// What a certificate shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Subject: common name.
    pub common_name: String,
    /// What for, and the rest of the subject.
    pub purpose: Purpose,
}

fn read(path: &Path) -> Result<String, TlsError> {
    fs::read_to_string(path).map_err(|source| TlsError::File { path: path.into(), tried: "read", source })
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), TlsError> {
    let failed = |tried| move |source| TlsError::File { path: path.into(), tried, source };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let _ = fs::remove_file(&new);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed("create"))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    fs::rename(&new, path).map_err(failed("rename"))
}
