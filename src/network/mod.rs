//! What a Pod's network is made of: pinned namespaces, CNI, names.
//!
//! Namespaces are pinned by bind mount and need no pause container ([`namespaces`]). Addresses come from the host's
//! CNI configuration ([`cni`]). The contents of `/etc/hosts` and `resolv.conf` and the host name are pure functions
//! ([`hosts`], [`resolver`], [`host_name`]). [`dial`] connects into such a network.

pub mod cni;
pub mod dial;
pub mod host_name;
pub mod hosts;
mod link;
pub mod namespaces;
pub mod resolver;
pub mod sysctl;
