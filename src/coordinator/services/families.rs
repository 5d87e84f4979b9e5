//! Which address families a Service is of.

use core::net::IpAddr;

use serde_json::{Value, json};

use super::allotments::{ServiceRange, family};
use super::{fields, invalid, kind, list, name, texts};
use crate::api::status::{FieldError, Status};

const SINGLE: &str = "SingleStack";
const REQUIRE: &str = "RequireDualStack";

/// Fills `ipFamilyPolicy` and `ipFamilies` by what the Service says of itself and what the cluster has.
pub(super) fn initialise(
    service: &mut Value,
    old: Option<&Value>,
    ranges: &[ServiceRange],
) -> Result<(), Status> {
    if kind(service) == "ExternalName" {
        return Ok(());
    }
    let is_bare = service["spec"]["clusterIP"] == "None"
        && service["spec"]["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    let policy = choose_policy(service, old, is_bare);
    fields(service).insert("ipFamilyPolicy".into(), policy.clone().into());
    if let Some(old) = old {
        shrink(service, old, &policy)?;
    }
    let mut errors = too_many(service, &policy);
    infer(service, ranges, &mut errors);
    refuse(service, &errors)?;
    let mut families: Vec<String> =
        texts(&service["spec"]["ipFamilies"]).into_iter().map(str::to_owned).collect();
    if !is_bare {
        refuse(service, &unavailable(&families, &policy, ranges))?;
    }
    if families.is_empty() {
        families.extend(ranges.first().map(|range| range.family().to_owned()));
    }
    if policy != SINGLE && families.len() == 1 && (is_bare || ranges.len() == 2) {
        families.push(if families[0] == "IPv4" { "IPv6".into() } else { "IPv4".into() });
    }
    fields(service).insert("ipFamilies".into(), families.into());
    Ok(())
}

fn refuse(service: &Value, errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(invalid(name(service), errors)) }
}

fn choose_policy(service: &Value, old: Option<&Value>, is_bare: bool) -> String {
    let of = |service: &Value| service["spec"]["ipFamilyPolicy"].as_str().map(str::to_owned);
    let default = if is_bare { REQUIRE } else { SINGLE };
    of(service).or_else(|| old.and_then(of)).unwrap_or_else(|| default.to_owned())
}

/// Turning to one family alone gives the second one back; without saying so that is refused.
fn shrink(service: &mut Value, old: &Value, policy: &str) -> Result<(), Status> {
    let stated = service["spec"]["ipFamilyPolicy"].clone();
    let mut errors = Vec::new();
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, before) = (list(&service["spec"][field]).to_vec(), list(&old["spec"][field]));
        if policy == SINGLE && now == before && now.len() > 1 {
            fields(service).insert(field.into(), json!([now[0]]));
        } else if policy != SINGLE && !now.is_empty() && now.len() < before.len() {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", &stated, &why));
        }
    }
    refuse(service, &errors)
}

fn too_many(service: &Value, policy: &str) -> Vec<FieldError> {
    let stated = &service["spec"]["ipFamilyPolicy"];
    let several = |field: &str, what: &str| {
        let many = policy == SINGLE && list(&service["spec"][field]).len() == 2;
        let why =
            format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
        many.then(|| FieldError::invalid("spec.ipFamilyPolicy", stated, &why))
    };
    let errors = [several("clusterIPs", "cluster IPs"), several("ipFamilies", "IP families")];
    errors.into_iter().flatten().collect()
}

/// An address says its family.
fn infer(service: &mut Value, ranges: &[ServiceRange], errors: &mut Vec<FieldError>) {
    let mut families = list(&service["spec"]["ipFamilies"]).to_vec();
    let named = service["spec"]["clusterIPs"].clone();
    for (index, address) in texts(&named).into_iter().enumerate().skip(families.len()) {
        let Ok(address) = address.parse::<IpAddr>() else { break };
        let found = family(address);
        if ranges.iter().any(|range| range.family() == found) {
            families.push(found.into());
        } else {
            let why = format!("{found} is not configured on this cluster");
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), &named, &why));
        }
    }
    if !families.is_empty() {
        fields(service).insert("ipFamilies".into(), families.into());
    }
}

fn unavailable(families: &[String], policy: &str, ranges: &[ServiceRange]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if policy == REQUIRE && ranges.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", &policy.into(), why));
    }
    for (index, wanted) in families.iter().enumerate() {
        let is_there = ranges.iter().any(|range| range.family() == wanted);
        if !is_there && matches!(wanted.as_str(), "IPv4" | "IPv6") {
            let why = "not configured on this cluster";
            let field = format!("spec.ipFamilies[{index}]");
            errors.push(FieldError::invalid(field, &wanted.as_str().into(), why));
        }
    }
    errors
}
