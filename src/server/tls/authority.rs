//! The cluster's authority: what it issues, keeps and signs.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::certificate::Facts;
use super::{Identity, Purpose, TlsError, Wanted, read, write_private};
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
