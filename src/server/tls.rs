//! The cluster's certificate authority, the certificates it issues, and who is at the other end of a connection.
//!
//! The authority lives in one directory: `ca.crt`, `ca.key`, and a `.crt` and `.key` for each certificate kept there;
//! all files 0600. A certificate is issued anew when it nears its end or no longer says what is wanted.
//!
//! A client certificate that does not verify does not end the handshake: the request is answered with 401, so that
//! the client is told why. [`Verifier::peer`] says who it is, if anybody.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName as DerName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::{GeneralName, ParsedExtension};

use crate::coordinator::certificates::Subject;
use crate::time::WallTime;

/// Validity of the authority: ten years, as kubeadm's.
const AUTHORITY_DAYS: u32 = 3650;
/// Validity of every other certificate: one year, as kubeadm's.
const CERTIFICATE_DAYS: u32 = 365;
/// A certificate with less time left than this is issued anew.
const RENEW_BEFORE: Duration = Duration::from_secs(90 * DAY_SECONDS);
/// Certificates begin this long before now, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(DAY_SECONDS);
const DAY_SECONDS: u64 = 86_400;
/// Signed requests begin this long before now, as upstream's.
const SIGNED_BACKDATED_SECONDS: i64 = 300;

/// Most groups in one certificate.
const ORGANIZATIONS_MAX: usize = 2;
/// `id-at-organizationName` of X.520.
const ORGANIZATION_OID: [u64; 4] = [2, 5, 4, 10];

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

/// The cluster's certificate authority.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads `ca.crt` and `ca.key` in `directory`, or makes both where neither is there.
    pub fn load_or_create(directory: &Path, now: WallTime) -> Result<Self, TlsError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| TlsError::File { path: directory.into(), tried: "create", source })?;
        let (certificate, key) = (directory.join("ca.crt"), directory.join("ca.key"));
        if !certificate.exists() && !key.exists() {
            let made = self_signed(now)?;
            write_private(&key, &made.key_pem)?;
            write_private(&certificate, &made.certificate_pem)?;
        }
        let ca_pem = read(&certificate)?;
        let pair = KeyPair::from_pem(&read(&key)?)
            .map_err(|e| TlsError::Unusable { path: key, detail: format!("no private key: {e}") })?;
        let unusable = |detail: String| TlsError::Unusable { path: certificate.clone(), detail };
        let facts = Facts::read(&ca_pem).map_err(unusable)?;
        if facts.public_key != pair.public_key_raw() {
            return Err(unusable("it does not belong to ca.key".into()));
        }
        if !facts.is_authority {
            return Err(unusable("it is no certificate authority".into()));
        }
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, pair).map_err(|e| unusable(e.to_string()))?;
        Ok(Self { directory: directory.into(), issuer, ca_pem })
    }

    /// The authority's own certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A new client certificate.
    pub fn issue_client(
        &self,
        common_name: &str,
        organizations: &[&str],
        now: WallTime,
    ) -> Result<Identity, TlsError> {
        let organizations = organizations.iter().map(|&o| o.to_owned()).collect();
        self.issue(
            &Wanted { common_name: common_name.into(), purpose: Purpose::Client { organizations } },
            now,
        )
    }

    /// A new server certificate for these IP addresses and DNS names.
    pub fn issue_server(
        &self,
        common_name: &str,
        names: &[String],
        now: WallTime,
    ) -> Result<Identity, TlsError> {
        let purpose = Purpose::Server { names: names.to_vec() };
        self.issue(&Wanted { common_name: common_name.into(), purpose }, now)
    }

    /// The certificate kept as `FILE.crt` and `FILE.key` beside the authority, issued (again) when it is missing, is
    /// another authority's, nears its end, or does not say what is wanted.
    pub fn keep(&self, file: &str, wanted: &Wanted, now: WallTime) -> Result<Identity, TlsError> {
        let certificate = self.directory.join(format!("{file}.crt"));
        let key = self.directory.join(format!("{file}.key"));
        if let (Ok(certificate_pem), Ok(key_pem)) =
            (fs::read_to_string(&certificate), fs::read_to_string(&key))
        {
            let identity = Identity { certificate_pem, key_pem };
            if self.serves(&identity, wanted, now) {
                return Ok(identity);
            }
        }
        let identity = self.issue(wanted, now)?;
        write_private(&key, &identity.key_pem)?;
        write_private(&certificate, &identity.certificate_pem)?;
        Ok(identity)
    }

    /// What a PKCS #10 request in PEM asks for, once its signature has been verified.
    pub fn requested(&self, pem: &str) -> Result<Subject, String> {
        let request = CertificateSigningRequestParams::from_pem(pem).map_err(|e| e.to_string())?;
        let name = &request.params.distinguished_name;
        let texts = |kind: &DnType| name.get(kind).map(dn_text).into_iter().collect::<Vec<String>>();
        let names = &request.params.subject_alt_names;
        let hosts = names.iter().filter(|name| matches!(name, SanType::DnsName(_) | SanType::IpAddress(_)));
        let hosts = hosts.count();
        Ok(Subject {
            common_name: texts(&DnType::CommonName).concat(),
            organizations: texts(&DnType::OrganizationName),
            alternative_names: (hosts, names.len() - hosts),
        })
    }

    /// Signs what a PKCS #10 request in PEM asks for, with these usages of the Kubernetes API and this life.
    pub fn sign(
        &self,
        pem: &str,
        usages: &[&str],
        life: Duration,
        now: WallTime,
    ) -> Result<String, TlsError> {
        let refused =
            |e: rcgen::Error| TlsError::Issue { subject: "a request".into(), detail: e.to_string() };
        let mut request = CertificateSigningRequestParams::from_pem(pem).map_err(refused)?;
        let params = &mut request.params;
        params.is_ca = IsCa::NoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if usages.contains(&"key encipherment") {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = vec![if usages.contains(&"server auth") {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        }];
        params.use_authority_key_identifier_extension = true;
        let at = |seconds: i64| {
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        };
        // By no more than a tenth of a short life: what is over of it counts from there.
        let backdated = SIGNED_BACKDATED_SECONDS.min(life.as_secs() as i64 / 10);
        params.not_before = at(now.0.as_second() - backdated);
        params.not_after = at(now.0.as_second().saturating_add_unsigned(life.as_secs()));
        Ok(request.signed_by(&self.issuer).map_err(refused)?.pem())
    }

    fn serves(&self, identity: &Identity, wanted: &Wanted, now: WallTime) -> bool {
        let Ok(facts) = Facts::read(&identity.certificate_pem) else { return false };
        let key_fits =
            KeyPair::from_pem(&identity.key_pem).is_ok_and(|pair| pair.public_key_raw() == facts.public_key);
        let long_enough = facts.not_after > now.0.as_second() + RENEW_BEFORE.as_secs() as i64;
        let says_it = facts.peer.common_name == wanted.common_name
            && match &wanted.purpose {
                Purpose::Client { organizations } => facts.peer.organizations == *organizations,
                Purpose::Server { names } => names.iter().all(|name| facts.names.contains(&canonical(name))),
            };
        let ours = Facts::read(&self.ca_pem).is_ok_and(|ca| ca.own_key_id == facts.issuer_key_id);
        key_fits && long_enough && says_it && ours
    }

    fn issue(&self, wanted: &Wanted, now: WallTime) -> Result<Identity, TlsError> {
        let refused =
            |e: rcgen::Error| TlsError::Issue { subject: wanted.common_name.clone(), detail: e.to_string() };
        if let Purpose::Client { organizations } = &wanted.purpose
            && organizations.len() > ORGANIZATIONS_MAX
        {
            let detail = format!("{} organizations, at most {ORGANIZATIONS_MAX} fit", organizations.len());
            return Err(TlsError::Issue { subject: wanted.common_name.clone(), detail });
        }
        let pair = KeyPair::generate().map_err(refused)?;
        let params = wanted.params(now).map_err(refused)?;
        let certificate = params.signed_by(&pair, &self.issuer).map_err(refused)?;
        Ok(Identity { certificate_pem: certificate.pem(), key_pem: pair.serialize_pem() })
    }
}

impl Wanted {
    fn params(&self, now: WallTime) -> Result<CertificateParams, rcgen::Error> {
        let (names, organizations, usage) = match &self.purpose {
            Purpose::Client { organizations } => {
                (&[][..], &organizations[..], ExtendedKeyUsagePurpose::ClientAuth)
            }
            Purpose::Server { names } => (&names[..], &[][..], ExtendedKeyUsagePurpose::ServerAuth),
        };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        // rcgen keeps one value per attribute type; the type in its numeric form counts as another one.
        let kinds = [DnType::OrganizationName, DnType::CustomDnType(ORGANIZATION_OID.to_vec())];
        for (kind, organization) in kinds.into_iter().zip(organizations) {
            params.distinguished_name.push(kind, organization.as_str());
        }
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, CERTIFICATE_DAYS);
        Ok(params)
    }
}

fn dn_text(value: &DnValue) -> String {
    match value {
        DnValue::Utf8String(text) => text.clone(),
        DnValue::PrintableString(text) => text.as_str().to_owned(),
        DnValue::Ia5String(text) => text.as_str().to_owned(),
        DnValue::TeletexString(text) => text.as_str().to_owned(),
        // Forms that nobody uses, of which no name or group is made.
        DnValue::BmpString(_) | DnValue::UniversalString(_) | _ => String::new(),
    }
}

/// A key and a PKCS #10 request for a client certificate with this subject, both PEM.
pub fn client_request(common_name: &str, organization: &str) -> Result<(String, String), TlsError> {
    let refused = |e: rcgen::Error| TlsError::Issue { subject: common_name.into(), detail: e.to_string() };
    let pair = KeyPair::generate().map_err(refused)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, common_name);
    let request = params.serialize_request(&pair).and_then(|request| request.pem()).map_err(refused)?;
    Ok((pair.serialize_pem(), request))
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

fn self_signed(now: WallTime) -> Result<Identity, TlsError> {
    let refused =
        |e: rcgen::Error| TlsError::Issue { subject: "the authority".into(), detail: e.to_string() };
    let pair = KeyPair::generate().map_err(refused)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "leasehold-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, now, AUTHORITY_DAYS);
    let certificate = params.self_signed(&pair).map_err(refused)?;
    Ok(Identity { certificate_pem: certificate.pem(), key_pem: pair.serialize_pem() })
}

fn set_validity(params: &mut CertificateParams, now: WallTime, days: u32) {
    let second = |timestamp: jiff::Timestamp| {
        let date = timestamp.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(i32::from(date.year()), date.month() as u8, date.day() as u8)
    };
    params.not_before = second(now.0 - BACKDATED);
    params.not_after = second(now.0 + Duration::from_secs(u64::from(days) * DAY_SECONDS));
}

/// IP addresses in one spelling, names in lower case.
fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
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

/// Who presented a certificate that verified.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Peer {
    /// The user name.
    pub common_name: String,
    /// The groups.
    pub organizations: Vec<String>,
}

/// What a certificate says.
struct Facts {
    peer: Peer,
    names: Vec<String>,
    not_after: i64,
    public_key: Vec<u8>,
    own_key_id: Option<Vec<u8>>,
    issuer_key_id: Option<Vec<u8>>,
    is_authority: bool,
}

impl Facts {
    fn read(pem: &str) -> Result<Self, String> {
        let der =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| format!("no certificate: {e}"))?;
        Self::of(&der)
    }

    fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
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

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let der = der.map_err(|e| TlsError::Setup(format!("authority: {e}")))?;
        store.add(der).map_err(|e| TlsError::Setup(format!("authority: {e}")))?;
    }
    Ok(Arc::new(store))
}

fn key_material(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TlsError::Setup(format!("certificate: {e}")))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|e| TlsError::Setup(format!("private key: {e}")))?;
    Ok((chain, key))
}

/// A server that asks for a client certificate and lets everybody finish the handshake; [`Verifier::peer`] then says
/// who it is. `protocols` are the ALPN names in order of preference, e.g. `["h2", "http/1.1"]`.
pub fn server_config(
    identity: &Identity,
    verifier: &Verifier,
    protocols: &[&str],
) -> Result<ServerConfig, TlsError> {
    let (chain, key) = key_material(identity)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .with_client_cert_verifier(Arc::new(verifier.clone()))
        .with_single_cert(chain, key)
        .map_err(|e| TlsError::Setup(e.to_string()))?;
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(config)
}

/// A client that trusts this authority only, and presents `identity`.
pub fn client_config(identity: &Identity, ca_pem: &str) -> Result<ClientConfig, TlsError> {
    let (chain, key) = key_material(identity)?;
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .with_root_certificates(roots(ca_pem)?)
        .with_client_auth_cert(chain, key)
        .map_err(|e| TlsError::Setup(e.to_string()))
}

/// A client that presents nothing and takes any server certificate whose key the server proves to have: for a look at
/// the certificates that it shows.
pub fn looking_client_config() -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ProvenKey(provider())))
        .with_no_client_auth())
}

/// A client that presents `identity` and takes any server certificate whose key the server proves to have: the caller
/// compares the certificate with the one it expects before it sends anything.
pub fn pinning_client_config(identity: &Identity) -> Result<ClientConfig, TlsError> {
    let (chain, key) = key_material(identity)?;
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ProvenKey(provider())))
        .with_client_auth_cert(chain, key)
        .map_err(|e| TlsError::Setup(e.to_string()))
}

/// A client that shows no certificate and takes any, of servers that are none of this cluster's: what a Pod serves is
/// as trustworthy as the Pod.
pub fn unknown_client_config() -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ProvenKey(provider())))
        .with_no_client_auth())
}

/// Leaves who the server is to the caller, and checks that it has the certificate's key.
#[derive(Debug)]
struct ProvenKey(Arc<CryptoProvider>);

impl ServerCertVerifier for ProvenKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// SHA-256 of a certificate's DER, hexadecimal.
pub fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Tells whose client certificate it is.
#[derive(Clone, Debug)]
pub struct Verifier {
    strict: Arc<dyn ClientCertVerifier>,
}

impl Verifier {
    /// Believes certificates of this authority.
    pub fn new(ca_pem: &str) -> Result<Self, TlsError> {
        let strict = WebPkiClientVerifier::builder_with_provider(roots(ca_pem)?, provider())
            .build()
            .map_err(|e| TlsError::Setup(e.to_string()))?;
        Ok(Self { strict })
    }

    /// Who is at the other end, after the handshake ([`rustls::ServerConnection::peer_certificates`]).
    /// None for no certificate, one of another authority, one that has ended, and one that is not for clients.
    pub fn peer(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<Peer> {
        let (first, rest) = chain?.split_first()?;
        self.strict.verify_client_cert(first, rest, UnixTime::now()).ok()?;
        Facts::of(first).ok().map(|facts| facts.peer)
    }
}

/// Lets every chain pass the handshake; that the client has its key is still proven.
impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DerName] {
        self.strict.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> WallTime {
        WallTime::parse("2026-01-02T03:04:05Z").unwrap()
    }

    fn later(days: u64) -> WallTime {
        WallTime(now().0 + Duration::from_secs(days * DAY_SECONDS))
    }

    fn server(names: &[&str]) -> Wanted {
        let names = names.iter().map(|&n| n.to_owned()).collect();
        Wanted { common_name: "leasehold".into(), purpose: Purpose::Server { names } }
    }

    #[test]
    fn the_authority_stays_the_same_and_its_files_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::load_or_create(dir.path(), now()).unwrap();
        let again = Authority::load_or_create(dir.path(), later(100)).unwrap();
        assert_eq!(first.ca_pem(), again.ca_pem());
        first.keep("server", &server(&["127.0.0.1"]), now()).unwrap();
        for entry in fs::read_dir(dir.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_kept_certificate_is_issued_anew_when_a_name_is_missing_or_its_end_is_near_and_not_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path(), now()).unwrap();
        let first = authority.keep("server", &server(&["127.0.0.1", "::1", "Node-1"]), now()).unwrap();
        let same = authority.keep("server", &server(&["0:0::1", "node-1"]), later(200)).unwrap();
        assert_eq!(first, same);
        let renamed = authority.keep("server", &server(&["127.0.0.1", "192.0.2.7"]), now()).unwrap();
        assert_ne!(first, renamed);
        let renewed = authority.keep("server", &server(&["127.0.0.1"]), later(300)).unwrap();
        assert_ne!(renamed, renewed);
    }

    #[test]
    fn a_certificate_of_another_authority_is_not_kept() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let foreign = Authority::load_or_create(other.path(), now()).unwrap();
        let foreign = foreign.keep("server", &server(&["localhost"]), now()).unwrap();
        let authority = Authority::load_or_create(dir.path(), now()).unwrap();
        write_private(&dir.path().join("server.crt"), &foreign.certificate_pem).unwrap();
        write_private(&dir.path().join("server.key"), &foreign.key_pem).unwrap();
        assert_ne!(authority.keep("server", &server(&["localhost"]), now()).unwrap(), foreign);
    }

    #[test]
    fn a_client_is_known_by_name_and_groups_and_a_foreign_one_by_nothing() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // Verification reads the real clock.
        let issued = WallTime(jiff::Timestamp::from_second(UnixTime::now().as_secs() as i64).unwrap());
        let authority = Authority::load_or_create(dir.path(), issued).unwrap();
        let verifier = Verifier::new(authority.ca_pem()).unwrap();
        let peer_of = |identity: &Identity| {
            let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap()];
            verifier.peer(Some(&chain))
        };
        let node = authority.issue_client("system:node:a", &[NODES, "b"], issued).unwrap();
        let known =
            Peer { common_name: "system:node:a".into(), organizations: vec![NODES.into(), "b".into()] };
        assert_eq!(peer_of(&node), Some(known));
        let foreign = Authority::load_or_create(other.path(), issued).unwrap();
        assert_eq!(peer_of(&foreign.issue_client("system:node:a", &[MASTERS], issued).unwrap()), None);
        let serving = authority.issue_server("node", &["localhost".into()], issued).unwrap();
        assert_eq!(peer_of(&serving), None);
        assert_eq!(verifier.peer(None), None);
    }

    #[test]
    fn a_damaged_authority_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Authority::load_or_create(dir.path(), now()).unwrap();
        fs::write(dir.path().join("ca.crt"), "nonsense").unwrap();
        let error = Authority::load_or_create(dir.path(), now()).unwrap_err().to_string();
        assert!(error.contains("ca.crt"), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("ca.crt")).unwrap(), "nonsense");
    }
}
