//! Whether the machine is short of something, by the kubelet's hard eviction signals. The node evicts nothing for it:
//! it says so on its Node.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::api::quantity::Quantity;
use crate::time::Instant;

/// How long a shortage is still reported after it was last seen, as the kubelet's
/// `evictionPressureTransitionPeriod`: a condition that flaps helps nobody.
const LINGERS: Duration = Duration::from_mins(5);

/// The kubelet's own defaults on Linux, and a bound on processes, for which it has none.
pub const DEFAULT: &str = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,\
                           imagefs.available<15%,imagefs.inodesFree<5%,pid.available<2%";

/// What may be short, in the kubelet's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Memory that can be had without swapping, bytes.
    MemoryAvailable,
    /// Bytes free on the file system of the agent's data.
    NodefsAvailable,
    /// Inodes free there.
    NodefsInodesFree,
    /// Bytes free on the file system of images and containers.
    ImagefsAvailable,
    /// Inodes free there.
    ImagefsInodesFree,
    /// Processes and threads that can still be made.
    PidAvailable,
}

impl Signal {
    const ALL: [(&str, Self); 6] = [
        ("memory.available", Self::MemoryAvailable),
        ("nodefs.available", Self::NodefsAvailable),
        ("nodefs.inodesFree", Self::NodefsInodesFree),
        ("imagefs.available", Self::ImagefsAvailable),
        ("imagefs.inodesFree", Self::ImagefsInodesFree),
        ("pid.available", Self::PidAvailable),
    ];

    /// The condition of the Node it belongs to.
    fn condition(self) -> Condition {
        match self {
            Self::MemoryAvailable => Condition::Memory,
            Self::NodefsAvailable
            | Self::NodefsInodesFree
            | Self::ImagefsAvailable
            | Self::ImagefsInodesFree => Condition::Disk,
            Self::PidAvailable => Condition::Pid,
        }
    }
}

/// The Node's conditions of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// `MemoryPressure`
    Memory,
    /// `DiskPressure`
    Disk,
    /// `PIDPressure`
    Pid,
}

/// Below which amount a signal is a shortage.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    Amount(u64),
    Percent(f64),
}

/// By signal, when it is a shortage.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(BTreeMap<Signal, Bound>);

/// Why a text says no thresholds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part:?}: expected SIGNAL<QUANTITY or SIGNAL<PERCENT%, with SIGNAL one of {}", names())]
pub struct InvalidThreshold {
    part: String,
}

fn names() -> String {
    Signal::ALL.map(|(name, _)| name).join(", ")
}

impl FromStr for Thresholds {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| threshold(part).ok_or_else(|| InvalidThreshold { part: part.to_owned() })).collect()
    }
}

impl FromIterator<(Signal, Bound)> for Thresholds {
    fn from_iter<T: IntoIterator<Item = (Signal, Bound)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

fn threshold(part: &str) -> Option<(Signal, Bound)> {
    let (name, bound) = part.split_once('<')?;
    let (_, signal) = Signal::ALL.into_iter().find(|(known, _)| *known == name.trim())?;
    let bound = match bound.trim().strip_suffix('%') {
        Some(percent) => Bound::Percent(percent.parse().ok().filter(|p| (0.0..=100.0).contains(p))?),
        None => Bound::Amount(Quantity::parse(bound.trim()).ok()?.value().try_into().ok()?),
    };
    Some((signal, bound))
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Still to be had.
    pub available: u64,
    /// In all.
    pub capacity: u64,
}

/// What the machine says of itself now; what could not be read is absent, and no shortage.
pub type Readings = BTreeMap<Signal, Room>;

/// The shortages of a machine over time.
#[derive(Clone, Debug, Default)]
pub struct Pressures {
    last_seen: BTreeMap<Condition, Instant>,
}

impl Pressures {
    /// Takes readings and says which shortages stand now.
    pub fn observe(&mut self, thresholds: &Thresholds, readings: &Readings, now: Instant) -> Standing {
        for (signal, room) in readings {
            if thresholds.0.get(signal).is_some_and(|bound| is_short(*room, *bound)) {
                self.last_seen.insert(signal.condition(), now);
            }
        }
        self.last_seen.retain(|_, seen| now.saturating_since(*seen) < LINGERS);
        let stands = |condition| self.last_seen.contains_key(&condition);
        Standing {
            memory: stands(Condition::Memory),
            disk: stands(Condition::Disk),
            pid: stands(Condition::Pid),
        }
    }
}

fn is_short(room: Room, bound: Bound) -> bool {
    match bound {
        Bound::Amount(amount) => room.available < amount,
        Bound::Percent(percent) => (room.available as f64) < room.capacity as f64 * percent / 100.0,
    }
}

/// Which shortages stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// `MemoryPressure`
    pub memory: bool,
    /// `DiskPressure`
    pub disk: bool,
    /// `PIDPressure`
    pub pid: bool,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.memory, "memory"), (self.disk, "disk"), (self.pid, "pid")];
        let standing: Vec<&str> = names.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
        f.write_str(if standing.is_empty() { "none" } else { "" })?;
        f.write_str(&standing.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(seconds))
    }

    fn readings(signal: Signal, available: u64, capacity: u64) -> Readings {
        BTreeMap::from([(signal, Room { available, capacity })])
    }

    #[test]
    fn amounts_and_percentages_are_read_as_the_kubelet_reads_them() {
        let thresholds: Thresholds = DEFAULT.parse().expect("the default is valid");
        let cases = [
            (Signal::MemoryAvailable, (100 << 20) - 1, 8 << 30, true),
            (Signal::MemoryAvailable, 100 << 20, 8 << 30, false),
            (Signal::NodefsAvailable, 99, 1000, true),
            (Signal::NodefsAvailable, 100, 1000, false),
            (Signal::ImagefsAvailable, 149, 1000, true),
            (Signal::ImagefsInodesFree, 49, 1000, true),
            (Signal::PidAvailable, 32, 32768, true),
            (Signal::PidAvailable, 30_000, 32768, false),
        ];
        for (signal, available, capacity, short) in cases {
            let standing =
                Pressures::default().observe(&thresholds, &readings(signal, available, capacity), at(1));
            assert_eq!(standing != Standing::default(), short, "{signal:?} {available} of {capacity}");
        }
    }

    #[test]
    fn a_shortage_is_reported_for_five_minutes_after_it_was_last_seen() {
        let thresholds: Thresholds = "nodefs.available<10%".parse().expect("valid");
        let mut pressures = Pressures::default();
        let (short, ample) =
            (readings(Signal::NodefsAvailable, 1, 100), readings(Signal::NodefsAvailable, 50, 100));
        let mut disk = |seconds, readings| pressures.observe(&thresholds, readings, at(seconds)).disk;
        assert!(!disk(0, &ample));
        assert!(disk(10, &short));
        assert!(disk(309, &ample));
        assert!(!disk(310, &ample));
    }

    #[test]
    fn what_is_no_threshold_is_named() {
        for text in ["memory<1Gi", "memory.available", "memory.available<lots", "nodefs.available<120%"] {
            let error = text.parse::<Thresholds>().expect_err(text).to_string();
            assert!(error.contains(text) && error.contains("nodefs.inodesFree"), "{error}");
        }
        assert_eq!("".parse::<Thresholds>(), Ok(Thresholds(BTreeMap::new())));
    }
}
