//! Endpoints and `EndpointSlice`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::service::{PROTOCOLS, named, port_number, special};
use super::spot::{Errors, Spot};
use crate::api::names;
use crate::api::status::FieldError;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 100;

/// All errors of an Endpoints object.
pub fn endpoints(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    for subset in Spot::root(object).at("subsets").items() {
        let lists = [subset.at("addresses"), subset.at("notReadyAddresses")];
        if lists.iter().all(Spot::is_empty) {
            errors.required(&subset, "must specify `addresses` or `notReadyAddresses`");
        }
        lists.iter().flat_map(Spot::items).for_each(|it| address(&it, &mut errors));
        let needs_names = subset.at("ports").items().count() > 1;
        for port in subset.at("ports").items() {
            if port.at("name").is_empty() && needs_names {
                errors.required(&port.at("name"), "");
            } else if !port.at("name").is_empty() {
                errors.faults(&port.at("name"), names::dns1123_label(port.at("name").text()));
            }
            port_number(&port.at("port"), &mut errors);
            errors.one_of(&port.at("protocol"), &PROTOCOLS);
        }
    }
    errors.into_list()
}

fn address(at: &Spot<'_>, errors: &mut Errors) {
    let faults = names::ip_address(at.at("ip").text());
    if faults.is_empty() {
        special(&at.at("ip"), errors);
    }
    errors.faults(&at.at("ip"), faults);
    if !at.at("hostname").is_empty() {
        errors.faults(&at.at("hostname"), names::dns1123_label(at.at("hostname").text()));
    }
    if !at.at("nodeName").is_empty() {
        errors.faults(&at.at("nodeName"), names::dns1123_subdomain(at.at("nodeName").text()));
    }
}

/// All errors of an `EndpointSlice`.
pub fn endpoint_slice(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    let family = root.at("addressType");
    errors.one_of(&family, &["FQDN", "IPv4", "IPv6"]);
    at_most(&root.at("endpoints"), ENDPOINTS_MAX, &mut errors);
    for endpoint in root.at("endpoints").items() {
        let addresses = endpoint.at("addresses");
        if addresses.is_empty() {
            errors.required(&addresses, "must contain at least 1 address");
        }
        at_most(&addresses, ADDRESSES_MAX, &mut errors);
        addresses.items().for_each(|it| of_family(&it, family.text(), &mut errors));
        if !endpoint.at("hostname").is_empty() {
            errors.faults(&endpoint.at("hostname"), names::dns1123_label(endpoint.at("hostname").text()));
        }
        if !endpoint.at("nodeName").is_empty() {
            errors.faults(&endpoint.at("nodeName"), names::dns1123_subdomain(endpoint.at("nodeName").text()));
        }
    }
    at_most(&root.at("ports"), PORTS_MAX, &mut errors);
    let mut taken = BTreeSet::new();
    let mut is_nameless = false;
    for port in root.at("ports").items() {
        let name = port.at("name");
        if name.is_empty() && std::mem::replace(&mut is_nameless, true) {
            errors.duplicate(&name);
        }
        named(&name, false, &mut taken, &mut errors);
        if port.at("port").is_set() {
            port_number(&port.at("port"), &mut errors);
        }
        errors.one_of(&port.at("protocol"), &PROTOCOLS);
    }
    errors.into_list()
}

fn at_most(list: &Spot<'_>, most: usize, errors: &mut Errors) {
    let count = list.items().count();
    if count > most {
        errors.push(FieldError {
            reason: "FieldValueTooMany",
            field: list.path().to_owned(),
            message: format!("Too many: {count}: must have at most {most} items"),
        });
    }
}

fn of_family(at: &Spot<'_>, family: &str, errors: &mut Errors) {
    use core::net::{Ipv4Addr, Ipv6Addr};
    let is_of = match family {
        "IPv4" => at.text().parse::<Ipv4Addr>().is_ok(),
        "IPv6" => at.text().parse::<Ipv6Addr>().is_ok(),
        "FQDN" => {
            errors.faults(at, names::dns1123_subdomain(at.text().trim_end_matches('.')));
            return;
        }
        _ => return,
    };
    if is_of {
        special(at, errors);
    } else {
        errors.invalid(at, &format!("must be a valid {family} address"));
    }
}

/// The type of the addresses never changes.
pub fn endpoint_slice_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.immutable(&Spot::root(new).at("addressType"), &Spot::root(old).at("addressType"));
    errors.into_list()
}
