//! What certificates say.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::{GeneralName, ParsedExtension};

/// Who presented a certificate that verified.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Peer {
    /// The user name.
    pub common_name: String,
    /// The groups.
    pub organizations: Vec<String>,
}

/// What a certificate says.
pub(super) struct Facts {
    pub(super) peer: Peer,
    pub(super) names: Vec<String>,
    pub(super) not_after: i64,
    pub(super) public_key: Vec<u8>,
    pub(super) own_key_id: Option<Vec<u8>>,
    pub(super) issuer_key_id: Option<Vec<u8>>,
    pub(super) is_authority: bool,
}

impl Facts {
    pub(super) fn read(pem: &str) -> Result<Self, String> {
        let der =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| format!("no certificate: {e}"))?;
        Self::of(&der)
    }

    pub(super) fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(der).map_err(|e| format!("no certificate: {e}"))?;
        let subject = parsed.subject();
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().unwrap_or_default().to_owned()
        };
        let peer = Peer {
            common_name: subject.iter_common_name().next().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
        };
        let alternative = parsed.subject_alternative_name().ok().flatten();
        let names = alternative
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(name_text)
            .collect();
        let mut key_ids = (None, None);
        for extension in parsed.extensions() {
            let known = extension.parsed_extension();
            if let ParsedExtension::SubjectKeyIdentifier(id) = known {
                key_ids.0 = Some(id.0.to_vec());
            } else if let ParsedExtension::AuthorityKeyIdentifier(id) = known {
                key_ids.1 = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
        }
        Ok(Self {
            peer,
            names,
            own_key_id: key_ids.0,
            issuer_key_id: key_ids.1,
            not_after: parsed.validity().not_after.timestamp(),
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
            is_authority: parsed.is_ca(),
        })
    }
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some(name.to_ascii_lowercase());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let address = <[u8; 4]>::try_from(*bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
    address.ok().map(|a| a.to_string())
}

/// When a certificate in PEM begins and ends.
pub fn validity(pem: &str) -> Result<(jiff::Timestamp, jiff::Timestamp), String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| format!("no certificate: {e}"))?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(&der).map_err(|e| format!("no certificate: {e}"))?;
    let time = |time: x509_parser::time::ASN1Time| {
        jiff::Timestamp::from_second(time.timestamp()).map_err(|e| e.to_string())
    };
    Ok((time(parsed.validity().not_before)?, time(parsed.validity().not_after)?))
}

/// The name that a certificate in PEM is for.
pub fn subject(pem: &str) -> Result<Peer, String> {
    Facts::read(pem).map(|facts| facts.peer)
}

/// SHA-256 of a certificate's public key, as `kubeadm` writes it: `sha256:` and hexadecimal digits.
pub fn key_hash(certificate: &[u8]) -> Result<String, String> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|e| format!("no certificate: {e}"))?;
    Ok(format!("sha256:{}", fingerprint(parsed.public_key().raw)))
}

/// [`key_hash`] of the first certificate in PEM.
pub fn key_hash_of_pem(pem: &str) -> Result<String, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| format!("no certificate: {e}"))?;
    key_hash(&der)
}

/// A certificate in PEM.
pub fn to_pem(certificate: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// SHA-256 of a certificate's DER, hexadecimal.
pub fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
