//! A Pod's host name and domain, by the kubelet's rules. PURE.

use k8s_openapi::api::core::v1::Pod;

/// Longest host name, as the kubelet cuts it.
const HOST_NAME_BYTES: usize = 63;
/// Longest node name of a UTS namespace (`__NEW_UTS_LEN`).
const NODE_NAME_BYTES: usize = 64;

/// How a Pod calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    /// The first label.
    pub short: String,
    /// `<subdomain>.<namespace>.svc.<cluster domain>`, where the Pod has a subdomain.
    pub domain: Option<String>,
    /// What the UTS namespace says: the short name, or the full one with `setHostnameAsFQDN`.
    pub kernel: String,
}

/// A name the kernel or DNS would not take.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// Not a DNS label, or not a DNS subdomain.
    #[error("pod {field} {value:?} is not a valid DNS {expected}")]
    Invalid {
        /// `Hostname`, `Subdomain` or `HostnameOverride`.
        field: &'static str,
        /// What it says.
        value: String,
        /// `label` or `subdomain`.
        expected: &'static str,
    },
    /// `setHostnameAsFQDN` and the full name has more bytes than the kernel holds.
    #[error(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long \
         ({NODE_NAME_BYTES} characters is the max, {length} characters requested)"
    )]
    TooLong {
        /// The full name.
        fqdn: String,
        /// Its length in bytes.
        length: usize,
    },
}

/// The names of a Pod that has a UTS namespace of its own.
pub fn host_name(pod: &Pod, cluster_domain: &str) -> Result<HostName, HostNameError> {
    let spec = pod.spec.as_ref();
    if let Some(name) = spec.and_then(|spec| spec.hostname_override.as_deref()) {
        check("HostnameOverride", name, "subdomain", name.split('.').all(is_label) && name.len() <= 253)?;
        let short = cut(name);
        return Ok(HostName { kernel: short.clone(), short, domain: None });
    }
    let text = |field: Option<&String>| field.cloned().filter(|text| !text.is_empty());
    let stated = text(spec.and_then(|spec| spec.hostname.as_ref()));
    let subdomain = text(spec.and_then(|spec| spec.subdomain.as_ref()));
    for (field, value) in [("Hostname", &stated), ("Subdomain", &subdomain)] {
        value.as_ref().map_or(Ok(()), |value| check(field, value, "label", is_label(value)))?;
    }
    let short = cut(&stated.or_else(|| pod.metadata.name.clone()).unwrap_or_default());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let domain = subdomain.map(|subdomain| format!("{subdomain}.{namespace}.svc.{cluster_domain}"));
    let as_fqdn = spec.and_then(|spec| spec.set_hostname_as_fqdn).unwrap_or(false);
    let kernel = match &domain {
        Some(domain) if as_fqdn => full_name(&short, domain)?,
        Some(_) | None => short.clone(),
    };
    Ok(HostName { short, domain, kernel })
}

fn full_name(short: &str, domain: &str) -> Result<String, HostNameError> {
    let fqdn = format!("{short}.{domain}");
    let length = fqdn.len();
    if length > NODE_NAME_BYTES { Err(HostNameError::TooLong { fqdn, length }) } else { Ok(fqdn) }
}

fn check(field: &'static str, value: &str, expected: &'static str, valid: bool) -> Result<(), HostNameError> {
    if valid { Ok(()) } else { Err(HostNameError::Invalid { field, value: value.to_owned(), expected }) }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=HOST_NAME_BYTES).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Pod names may be longer than host names; they are ASCII by validation.
fn cut(name: &str) -> String {
    if name.len() <= HOST_NAME_BYTES {
        return name.to_owned();
    }
    name.chars().take(HOST_NAME_BYTES).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &serde_json::Value) -> Pod {
        let name = "a-rather-long-daemon-set-name-for-a-node-exporter-on-every-machin.-x7k2p";
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec
        }))
        .unwrap()
    }

    #[test]
    fn the_pods_name_is_its_host_name_cut_to_63_bytes_without_a_trailing_dash() {
        let found = host_name(&pod(&serde_json::json!({"containers": []})), "cluster.local").unwrap();
        assert_eq!(found.short, "a-rather-long-daemon-set-name-for-a-node-exporter-on-every-mach");
        assert_eq!((found.kernel, found.domain), (found.short, None));
    }

    #[test]
    fn a_subdomain_gives_a_domain_and_the_kernel_says_the_full_name_only_when_asked() {
        let spec = serde_json::json!({"containers": [], "hostname": "db-0", "subdomain": "db"});
        let found = host_name(&pod(&spec), "cluster.local").unwrap();
        assert_eq!(found.domain.as_deref(), Some("db.shop.svc.cluster.local"));
        assert_eq!(found.kernel, "db-0");
        let mut asked = spec;
        asked["setHostnameAsFQDN"] = true.into();
        assert_eq!(
            host_name(&pod(&asked), "cluster.local").unwrap().kernel,
            "db-0.db.shop.svc.cluster.local"
        );
        let error = host_name(&pod(&asked), &"c".repeat(63)).unwrap_err();
        assert!(matches!(error, HostNameError::TooLong { length: 80, .. }), "{error}");
    }

    #[test]
    fn an_override_wins_and_has_no_domain() {
        let spec =
            serde_json::json!({"containers": [], "hostnameOverride": "www.shop.example", "subdomain": "db"});
        let found = host_name(&pod(&spec), "cluster.local").unwrap();
        assert_eq!((found.kernel.as_str(), found.domain), ("www.shop.example", None));
    }

    #[test]
    fn names_that_dns_would_not_take_are_refused() {
        for (field, spec) in [
            ("Hostname", serde_json::json!({"containers": [], "hostname": "Db_0"})),
            ("Subdomain", serde_json::json!({"containers": [], "subdomain": "-x"})),
            ("HostnameOverride", serde_json::json!({"containers": [], "hostnameOverride": "a..b"})),
        ] {
            let error = host_name(&pod(&spec), "cluster.local").unwrap_err().to_string();
            assert!(error.starts_with(&format!("pod {field} ")), "{error}");
        }
    }
}
