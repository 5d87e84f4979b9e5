//! Which Service has which cluster IP and node port: an index over the Services, kept as they change.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::coordinator::state::{Key, Object};

/// Ports of nodes that Services may have, as upstream's default.
pub(super) const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// Something that one Service has and no other may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allotted {
    /// A cluster IP.
    Address(IpAddr),
    /// A port of every node.
    Port(u16),
}

/// Addresses of one family that Services are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRange {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no range for Services.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: expected ADDRESS/BITS with {rule}")]
pub struct RangeError {
    text: String,
    rule: &'static str,
}

impl FromStr for ServiceRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let wrong = |rule| RangeError { text: text.to_owned(), rule };
        let (address, bits) = text.split_once('/').ok_or_else(|| wrong("an address and a number of bits"))?;
        let address: IpAddr = address.parse().map_err(|_| wrong("an address of IPv4 or IPv6"))?;
        let prefix: u8 = bits.parse().map_err(|_| wrong("a number of bits"))?;
        let width = width(address);
        if u32::from(prefix) + 4 > width {
            return Err(wrong("room for at least 16 addresses"));
        }
        let range = Self { first: address, prefix };
        let first = range.at(number(address) & !(range.size() - 1));
        Ok(Self { first, prefix })
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl ServiceRange {
    /// How many addresses; of a very large range, as upstream, the first 2^64.
    fn size(self) -> u128 {
        1 << (width(self.first) - u32::from(self.prefix)).min(64)
    }

    fn at(self, number: u128) -> IpAddr {
        match self.first {
            IpAddr::V4(_) => Ipv4Addr::from(number as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from(number).into(),
        }
    }

    /// The address of the Service `kubernetes`: the first that may be given out.
    pub fn api_server(self) -> IpAddr {
        self.at(number(self.first) + 1)
    }

    /// Which of the two families.
    pub fn is_ipv4(self) -> bool {
        self.first.is_ipv4()
    }

    /// `IPv4` or `IPv6`.
    pub(super) fn family(self) -> &'static str {
        family(self.first)
    }

    /// Whether an address may be given out: it is in the range, and neither the network's own nor, of IPv4, the
    /// broadcast address.
    pub(super) fn holds(self, address: IpAddr) -> bool {
        let offset = number(address).checked_sub(number(self.first));
        family(address) == self.family() && offset.is_some_and(|offset| offset >= 1 && offset <= self.last())
    }

    fn last(self) -> u128 {
        self.size() - if self.first.is_ipv4() { 2 } else { 1 }
    }

    /// Addresses in the order they are tried, from a drawn number: the upper part of the range first, as upstream, so
    /// that people may count on the lower part for those they choose.
    pub(super) fn candidates(self, drawn: u128) -> impl Iterator<Item = IpAddr> {
        let reserved = (self.size() / 16).clamp(16, 256).min(self.last() / 2);
        let upper = self.last() - reserved;
        let from_upper = (0..upper).map(move |step| reserved + 1 + (drawn % upper + step) % upper);
        let from_lower = (0..reserved).map(move |step| 1 + (drawn % reserved + step) % reserved);
        from_upper.chain(from_lower).map(move |offset| self.at(number(self.first) + offset))
    }
}

/// `IPv4` or `IPv6`.
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The index.
#[derive(Clone, Debug)]
pub struct Allotments {
    /// One range, or one of each family; the first is the default.
    ranges: Vec<ServiceRange>,
    holders: BTreeMap<Allotted, Key>,
}

impl Default for Allotments {
    /// 10.96.0.0/12, as kubeadm.
    fn default() -> Self {
        let first = Ipv4Addr::new(10, 96, 0, 0).into();
        Self::new(vec![ServiceRange { first, prefix: 12 }])
    }
}

impl Allotments {
    /// Nothing is given out yet of these ranges: one, or one of each family.
    pub fn new(ranges: Vec<ServiceRange>) -> Self {
        Self { ranges, holders: BTreeMap::new() }
    }

    /// One range, or one of each family; the first is the default.
    pub fn ranges(&self) -> &[ServiceRange] {
        &self.ranges
    }

    /// The Service that has it.
    pub fn holder(&self, of: Allotted) -> Option<&Key> {
        self.holders.get(&of)
    }

    /// Takes note of a Service that has come, changed or gone.
    pub fn observe(&mut self, before: Option<&Object>, after: Option<&Object>) {
        for (taken, key) in difference(before, after) {
            match key {
                Some(key) => drop(self.holders.insert(taken, key)),
                None => drop(self.holders.remove(&taken)),
            }
        }
    }
}

/// What the changes of a draft have taken and given back.
#[derive(Debug, Default)]
pub struct Drafted(BTreeMap<Allotted, Option<Key>>);

impl Drafted {
    /// Takes note of a Service that has come, changed or gone in the draft.
    pub fn observe(&mut self, before: Option<&Object>, after: Option<&Object>) {
        self.0.extend(difference(before, after));
    }

    /// Who holds it now; none where the draft says nothing of it.
    pub fn get(&self, of: Allotted) -> Option<Option<&Key>> {
        self.0.get(&of).map(Option::as_ref)
    }
}

fn is_service(object: &Object) -> bool {
    object.kind.group.is_empty() && object.kind.kind == "Service"
}

/// What a change gives back (none) and then takes.
fn difference(before: Option<&Object>, after: Option<&Object>) -> Vec<(Allotted, Option<Key>)> {
    let of = |object: Option<&Object>| {
        let object = object.filter(|object| is_service(object));
        object.map(|object| (allotted(&object.value()), object.key.clone()))
    };
    let mut changed: Vec<_> =
        of(before).into_iter().flat_map(|(had, _)| had).map(|taken| (taken, None)).collect();
    if let Some((has, key)) = of(after) {
        changed.extend(has.into_iter().map(|taken| (taken, Some(key.clone()))));
    }
    changed
}

/// Everything that a Service has for itself.
fn allotted(service: &Value) -> Vec<Allotted> {
    let spec = &service["spec"];
    let addresses = spec["clusterIPs"].as_array().into_iter().flatten();
    let addresses = addresses.filter_map(|ip| ip.as_str()?.parse().ok()).map(Allotted::Address);
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
    let ports = ports.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_u64);
    let ports = ports.filter_map(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    addresses.chain(ports.map(Allotted::Port)).collect()
}
