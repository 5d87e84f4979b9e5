//! The certificate of the node's own endpoint: made by the node, pinned by its SHA-256 on the Node object.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use super::disk::{Disk, Durability};
use crate::server::tls::{Identity, fingerprint};

const CERTIFICATE: &str = "pki/serving.crt";
const KEY: &str = "pki/serving.key";

/// A certificate with its key.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) identity: Identity,
}

impl Serving {
    /// SHA-256 of the certificate's DER, hexadecimal.
    pub(super) fn sha256(&self) -> String {
        let parsed = x509_parser::pem::parse_x509_pem(self.identity.certificate_pem.as_bytes());
        let der = parsed.map(|(_, pem)| pem.contents).unwrap_or_default();
        fingerprint(&der)
    }
}

/// The node's certificate as it is on disk, or a new one.
pub(super) fn load_or_create(disk: &Disk, node: &str, ips: &[IpAddr]) -> anyhow::Result<Serving> {
    let text = |file: &str| -> anyhow::Result<Option<String>> {
        let bytes = disk.read_bytes(Path::new(file))?;
        bytes.map(|bytes| String::from_utf8(bytes).with_context(|| format!("{file}: not PEM"))).transpose()
    };
    if let (Some(certificate_pem), Some(key_pem)) = (text(CERTIFICATE)?, text(KEY)?) {
        return Ok(Serving { identity: Identity { certificate_pem, key_pem } });
    }
    let identity = make(node, ips).context("making the node's certificate")?;
    disk.put_bytes(Path::new(KEY), identity.key_pem.as_bytes(), Durability::Power)?;
    disk.put_bytes(Path::new(CERTIFICATE), identity.certificate_pem.as_bytes(), Durability::Power)?;
    Ok(Serving { identity })
}

fn make(node: &str, ips: &[IpAddr]) -> Result<Identity, rcgen::Error> {
    let mut params = CertificateParams::new(vec![node.to_owned()])?;
    params.subject_alt_names.extend(ips.iter().map(|ip| SanType::IpAddress(*ip)));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Identity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
}
