//! When an identity is taken from a session: what revocation frees, and what it does not.

use std::fmt;

use k8s_openapi::api::coordination::v1::Lease;

use super::wire;
use crate::lease::fence::{Failover, FenceLevel};
use crate::lease::rule::{Rule, is_kept};
use crate::lease::session::SessionId;
use crate::lease::wire as leases;

/// How a session stands, by its Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be believed in.
    Alive,
    /// It was broken after D + M, or another was taken after it.
    Over,
    /// Its holder gave it back, which it does only when nothing runs under it any more.
    GivenBack,
}

/// How this session stands, by the Lease of its node as read consistently. An absent Lease says nothing.
pub fn standing(session: &SessionId, lease: Option<&Lease>) -> Standing {
    let Some(lease) = lease.filter(|lease| leases::uid(lease) == session.lease_uid) else {
        return if is_kept(Rule::AbsentSaysNothing) { Standing::Alive } else { Standing::Over };
    };
    let epoch = leases::epoch(lease);
    match epoch.cmp(&session.epoch) {
        std::cmp::Ordering::Greater => Standing::Over,
        std::cmp::Ordering::Equal if leases::is_given_up(lease) => Standing::GivenBack,
        std::cmp::Ordering::Equal if leases::holder(lease).is_empty() => Standing::Over,
        std::cmp::Ordering::Equal | std::cmp::Ordering::Less => Standing::Alive,
    }
}

/// What the freeing of an identity depends on, besides its Lease.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// How the session stands that the Lease names.
    pub standing: Standing,
    /// What the workload asks of a fence.
    pub wish: Failover,
    /// The Pod can run nowhere else: its volume is on that node.
    pub tied: bool,
    /// The monitor's brake is drawn.
    pub braked: bool,
    /// The node carries the taint `node.kubernetes.io/out-of-service`: people vouch for its being off.
    pub out_of_service: bool,
}

/// Why an identity stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nobody holds it: there is nothing to free.
    Free,
    /// Its session may be believed in.
    Alive,
    /// The brake is drawn.
    Braked,
    /// Its Pod can run nowhere else.
    Tied,
    /// The workload leaves it to people.
    Never,
    /// The holder's fence promises less than the workload asks.
    Level(FenceLevel),
}

/// The Lease as it is to be written to free the identity, if it may be freed.
pub fn free(lease: &Lease, case: Case) -> Result<Lease, Kept> {
    if leases::holder(lease).is_empty() {
        return Err(Kept::Free);
    }
    match case.standing {
        Standing::GivenBack => return Ok(wire::freed(lease.clone())),
        _ if case.out_of_service => return Ok(wire::freed(lease.clone())),
        Standing::Alive => return Err(Kept::Alive),
        Standing::Over => {}
    }
    let level = wire::level(lease);
    match case {
        Case { tied: true, .. } => Err(Kept::Tied),
        Case { wish: Failover::Never, .. } => Err(Kept::Never),
        Case { wish, .. } if !level.frees(wish) && is_kept(Rule::FreeTheFenced) => Err(Kept::Level(level)),
        Case { braked: true, .. } => Err(Kept::Braked),
        _ => Ok(wire::freed(lease.clone())),
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("nobody holds the identity"),
            Self::Alive => f.write_str("the session that holds the identity is alive"),
            Self::Braked => f.write_str("too many nodes were lost together: the brake is drawn"),
            Self::Tied => f.write_str("the Pod's volume is on the node that holds the identity"),
            Self::Never => f.write_str("the workload is never taken from a silent node"),
            Self::Level(level) => {
                write!(
                    f,
                    "the node that holds the identity promises less than the workload asks (fence level {level})"
                )
            }
        }
    }
}
