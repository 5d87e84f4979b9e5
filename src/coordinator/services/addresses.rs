//! Cluster IPs.

use core::net::IpAddr;

use serde_json::{Value, json};

use super::allotments::{Allotted, ServiceRange, family};
use super::{Allotting, fields, kind, list, texts};
use crate::api::status::Status;

const NONE: &str = "None";

/// Without an address, by choice.
pub(super) fn is_headless(service: &Value) -> bool {
    list(&service["spec"]["clusterIPs"]).first().is_some_and(|ip| ip == NONE)
}

/// `clusterIP` and `clusterIPs` say the same where the writer knew only one of them.
pub(super) fn normalise(new: &mut Value, old: Option<&Value>) {
    let text = |service: &Value| service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let (now, before) = (text(new), old.map(&text).unwrap_or_default());
    let stated = list(&new["spec"]["clusterIPs"]).len();
    if old.is_none() || now == before {
        if !now.is_empty() && stated == 0 {
            fields(new).insert("clusterIPs".into(), json!([now]));
        }
        return;
    }
    let all_before = old.map(|old| old["spec"]["clusterIPs"].clone()).unwrap_or_default();
    let all_same = new["spec"]["clusterIPs"] == all_before;
    if now.is_empty() && all_same {
        fields(new).remove("clusterIPs");
    } else if !now.is_empty() && (stated == 0 || all_same) {
        let rest = list(&new["spec"]["clusterIPs"]).iter().skip(1).cloned();
        let all: Vec<Value> = std::iter::once(now.into()).chain(rest).collect();
        fields(new).insert("clusterIPs".into(), all.into());
    }
}

impl Allotting<'_, '_> {
    /// One address of each family the Service is of; those it names, and others where it names none.
    pub(super) fn take_addresses(&mut self, service: &mut Value) -> Result<(), Status> {
        if kind(service) == "ExternalName" || is_headless(service) {
            return Ok(());
        }
        let families: Vec<String> =
            texts(&service["spec"]["ipFamilies"]).into_iter().map(str::to_owned).collect();
        let named = service["spec"]["clusterIPs"].clone();
        let mut addresses: Vec<Value> = list(&named).to_vec();
        addresses.truncate(families.len().max(addresses.len()));
        for (index, wanted) in families.iter().enumerate() {
            let stated = addresses.get(index).and_then(Value::as_str).unwrap_or_default();
            let given = match stated {
                "" => self.next_address(wanted)?.to_string(),
                stated => self.chosen_address(stated, &named)?,
            };
            match addresses.get_mut(index) {
                Some(address) => *address = given.into(),
                None => addresses.push(given.into()),
            }
        }
        if let Some(first) = addresses.first() {
            let first = first.clone();
            fields(service).insert("clusterIP".into(), first);
            fields(service).insert("clusterIPs".into(), addresses.into());
        }
        Ok(())
    }

    fn chosen_address(&mut self, stated: &str, named: &Value) -> Result<String, Status> {
        let refuse = |this: &Self, why: String| {
            Err(this.refuse("spec.clusterIPs", named, &format!("failed to allocate IP {stated}: {why}")))
        };
        // Validation says what is wrong with a text that is no address.
        let Ok(address) = stated.parse::<IpAddr>() else { return Ok(stated.to_owned()) };
        let Some(range) = self.range(family(address)) else { return Ok(stated.to_owned()) };
        if self.has_already(address) {
            return Ok(stated.to_owned());
        }
        if !range.holds(address) {
            let why = format!(
                "the provided IP ({stated}) is not in the valid range. The range of valid IPs is {range}"
            );
            return refuse(self, why);
        }
        if !self.is_free(Allotted::Address(address)) || self.taken.contains(&Allotted::Address(address)) {
            return refuse(self, "provided IP is already allocated".into());
        }
        self.taken.push(Allotted::Address(address));
        Ok(stated.to_owned())
    }

    fn next_address(&mut self, wanted: &str) -> Result<IpAddr, Status> {
        let drawn = self.draw();
        let candidates = self.range(wanted).into_iter().flat_map(|range| range.candidates(drawn));
        let reserved: Vec<IpAddr> =
            self.draft.allotments().ranges().iter().map(|range| range.api_server()).collect();
        let free = candidates
            .filter(|address| !reserved.contains(address))
            .find(|address| self.is_unused(Allotted::Address(*address)));
        let address =
            free.ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?;
        self.taken.push(Allotted::Address(address));
        Ok(address)
    }

    /// The Service has it from before, perhaps when the range was another one.
    fn has_already(&self, address: IpAddr) -> bool {
        let held = Allotted::Address(address);
        self.is_free(held) && !self.is_unused(held) && !self.taken.contains(&held)
    }

    fn range(&self, wanted: &str) -> Option<ServiceRange> {
        self.draft.allotments().ranges().iter().copied().find(|range| range.family() == wanted)
    }
}
