//! What happens to a world: drawn from a seed, or read from the log of an earlier run.
//!
//! A script is whole: the shape, the clocks, the deeds and the fate of every message that had one. It replays after the
//! generator has changed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::random::Random;
use crate::lease::fence::FenceLevel;

/// How large a world is, and for how long it is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// Nodes.
    pub nodes: u32,
    /// Workloads that must not run twice.
    pub identities: u32,
    /// Steward shards.
    pub shards: u32,
    /// D.
    pub session_seconds: u64,
    /// How long there are faults, in milliseconds.
    pub faults_ms: u64,
    /// Of a thousand messages, so many are lost, late or doubled.
    pub chaos: u64,
}

/// Something done to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "`node` is the number of a node, `ms` a duration in milliseconds")]
pub enum Deed {
    /// Nothing passes from the node to the coordinator, or back, or both.
    Cut { node: u32, up: bool, down: bool, ms: u64 },
    /// The agent's process gets no turn; its clock runs on.
    Pause { node: u32, ms: u64 },
    /// The agent is killed and started again.
    KillAgent { node: u32, ms: u64 },
    /// The guard is killed and started again.
    KillGuard { node: u32, ms: u64 },
    /// The machine loses power and boots.
    Reboot { node: u32, ms: u64 },
    /// Every write to the disk takes seconds.
    SlowDisk { node: u32, ms: u64 },
    /// No write to the disk succeeds.
    FullDisk { node: u32, ms: u64 },
    /// The coordinator crashes and starts again.
    Outage { ms: u64 },
    /// Somebody else writes to the Lease of the node's session.
    TouchSession { node: u32 },
    /// Somebody else writes to the Lease of a shard.
    TouchShard { shard: u32 },
    /// The node's watches show nothing for a while, and then end.
    Gap { node: u32, ms: u64 },
    /// The store is replaced by a backup `age_ms` old; it is away for `ms`.
    Restore { age_ms: u64, ms: u64 },
    /// The node is drained, and comes back.
    Drain { node: u32, ms: u64 },
    /// The Lease of the node's session is removed by force.
    LoseSession { node: u32 },
    /// The Lease of an identity is removed by force, and its Pod with it.
    LoseIdentity { identity: u32 },
    /// A Pod with an identity is deleted: by force, and then perhaps made again, bound by hand to the same node.
    DeletePod { identity: u32, force: bool, again: bool },
}

/// What the network does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// It does not arrive.
    Lost,
    /// It arrives this many milliseconds late, after others that were sent later.
    Late(u64),
    /// It arrives, and again this many milliseconds later.
    Twice(u64),
}

/// What happens to a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// How large it is.
    pub shape: Shape,
    /// Per node: milliseconds since its boot at the start, and how many millionths its clock runs too fast.
    pub clocks: Vec<(u64, i64)>,
    /// What is done, and at what millisecond.
    pub deeds: Vec<(u64, Deed)>,
    /// Fates of messages, by the number of the message.
    pub fates: BTreeMap<u64, Fate>,
}

/// One line of a log.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    World(Shape),
    Clock(u64, i64),
    At(u64, Deed),
    Message(u64, Fate),
}

impl Script {
    /// What a node's fence promises: one of eight promises nothing. Not where a backup is restored, which forgets who
    /// holds an identity: D + M later what is fenced is dead, and what is not runs on.
    pub(super) fn level(&self, node: usize) -> FenceLevel {
        let restores = self.deeds.iter().any(|(_, deed)| matches!(deed, Deed::Restore { .. }));
        if node % 8 == 7 && !restores { FenceLevel::None } else { FenceLevel::Kill }
    }

    /// The script as a log, one event a line.
    pub fn to_log(&self) -> String {
        let mut lines = vec![Line::World(self.shape)];
        lines.extend(self.clocks.iter().map(|(offset, rate)| Line::Clock(*offset, *rate)));
        lines.extend(self.deeds.iter().map(|(at, deed)| Line::At(*at, *deed)));
        lines.extend(self.fates.iter().map(|(number, fate)| Line::Message(*number, *fate)));
        let texts: Vec<String> =
            lines.iter().map(|line| serde_json::to_string(line).unwrap_or_default()).collect();
        texts.join("\n") + "\n"
    }

    /// Reads a log.
    pub fn from_log(text: &str) -> Result<Self, LogError> {
        let mut shape = None;
        let (mut clocks, mut deeds, mut fates) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let error = |source| LogError::Line { number: index + 1, source };
            match serde_json::from_str(line).map_err(error)? {
                Line::World(world) => shape = Some(world),
                Line::Clock(offset, rate) => clocks.push((offset, rate)),
                Line::At(at, deed) => deeds.push((at, deed)),
                Line::Message(number, fate) => drop(fates.insert(number, fate)),
            }
        }
        let shape = shape.ok_or(LogError::NoWorld)?;
        let script = Self { shape, clocks, deeds, fates };
        script.check()
    }

    fn check(self) -> Result<Self, LogError> {
        let Shape { nodes, shards, session_seconds, .. } = self.shape;
        let node_of = |deed: &Deed| match *deed {
            Deed::Cut { node, .. }
            | Deed::Pause { node, .. }
            | Deed::KillAgent { node, .. }
            | Deed::KillGuard { node, .. }
            | Deed::Reboot { node, .. }
            | Deed::SlowDisk { node, .. }
            | Deed::FullDisk { node, .. }
            | Deed::TouchSession { node }
            | Deed::Gap { node, .. }
            | Deed::Drain { node, .. }
            | Deed::LoseSession { node } => node,
            Deed::Outage { .. }
            | Deed::TouchShard { .. }
            | Deed::Restore { .. }
            | Deed::LoseIdentity { .. }
            | Deed::DeletePod { .. } => 0,
        };
        let fits = self.deeds.iter().all(|(_, deed)| node_of(deed) < nodes);
        let sane = nodes > 0 && shards > 0 && session_seconds > 3 && self.clocks.len() == nodes as usize;
        if fits && sane { Ok(self) } else { Err(LogError::Shape) }
    }
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A line is no event.
    #[error("line {number}: {source}")]
    Line {
        /// From 1.
        number: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The line that says how large the world is is missing.
    #[error("no line says how large the world is")]
    NoWorld,
    /// The events do not fit the world.
    #[error("the world's size does not fit its clocks and deeds")]
    Shape,
}

/// Draws a script, all but the fates of its messages, which are drawn as they are sent.
pub(super) fn draw(seed: u64, shape: Shape) -> Script {
    let mut random = Random::of(seed, 1);
    let clocks = (0..shape.nodes)
        .map(|_| (random.between(1_000, 5_000_000), random.between(0, 20_000) as i64 - 10_000))
        .collect();
    let mut random = Random::of(seed, 2);
    let mut deeds = Vec::new();
    // So many that a node meets a fault or two, however many there are of them.
    let count = u64::from(shape.nodes) + 12;
    for _ in 0..count {
        let at = random.between(0, shape.faults_ms);
        draw_deed(&mut random, shape, at, &mut deeds);
    }
    deeds.sort_by_key(|(at, _)| *at);
    Script { shape, clocks, deeds, fates: BTreeMap::new() }
}

/// One fault, or one that hits many nodes together.
fn draw_deed(random: &mut Random, shape: Shape, at: u64, deeds: &mut Vec<(u64, Deed)>) {
    let node = random.between(0, u64::from(shape.nodes) - 1) as u32;
    let session = shape.session_seconds * 1_000;
    // Short ones are survived, long ones are not.
    let ms = if random.permille(400) {
        random.between(50, session / 2)
    } else {
        random.between(session / 2, session * 2)
    };
    let (up, down) = [(true, true), (true, false), (false, true)][random.between(0, 2) as usize];
    let deed = match random.between(0, 99) {
        0..18 => Deed::Cut { node, up, down, ms },
        18..32 => Deed::Pause { node, ms },
        32..44 => {
            Deed::KillAgent { node, ms: if random.permille(500) { random.between(10, 900) } else { ms } }
        }
        44..49 => Deed::KillGuard { node, ms: random.between(10, 500) },
        49..57 => Deed::Reboot { node, ms: random.between(2_000, session) },
        57..61 => Deed::SlowDisk { node, ms },
        61..65 => Deed::FullDisk { node, ms },
        65..67 => Deed::Outage { ms },
        67..72 => Deed::TouchSession { node },
        72..76 => Deed::TouchShard { shard: random.between(0, u64::from(shape.shards) - 1) as u32 },
        76..82 => Deed::Gap { node, ms },
        // Away for longer than anybody can believe in a session: what the backup forgot has ended by then. Whoever restores
        // one faster breaks invariants: an agent that has seen nothing since the backup was made cannot tell.
        82..83 => {
            let ms = session + random.between(4_000, session);
            Deed::Restore { age_ms: random.between(8_000, 40_000), ms }
        }
        83..88 => Deed::Drain { node, ms },
        88..90 => Deed::LoseSession { node },
        90..91 => Deed::LoseIdentity { identity: drawn_identity(random, shape) },
        91..97 => Deed::DeletePod {
            identity: drawn_identity(random, shape),
            force: random.permille(500),
            again: random.permille(500),
        },
        _ => return draw_mass(random, shape, at, ms, deeds),
    };
    deeds.push((at, deed));
}

fn drawn_identity(random: &mut Random, shape: Shape) -> u32 {
    random.between(0, u64::from(shape.identities.max(1)) - 1) as u32
}

/// A rack or a room is cut off.
fn draw_mass(random: &mut Random, shape: Shape, at: u64, ms: u64, deeds: &mut Vec<(u64, Deed)>) {
    let share = random.between(200, 900);
    for node in 0..shape.nodes {
        if random.permille(share) {
            deeds.push((at, Deed::Cut { node, up: true, down: true, ms }));
        }
    }
}

/// What the network does with messages.
#[derive(Debug)]
pub(super) enum Fates {
    /// Drawn as they are sent.
    Drawn { random: Random, chaos: u64 },
    /// As the log says.
    Logged,
}

impl Fates {
    pub(super) fn next(&mut self, number: u64, log: &mut BTreeMap<u64, Fate>) -> Option<Fate> {
        let Self::Drawn { random, chaos } = self else { return log.get(&number).copied() };
        if !random.permille(*chaos) {
            return None;
        }
        let late = |random: &mut Random| match random.between(0, 3) {
            0 => random.between(5, 500),
            1 => random.between(500, 4_000),
            2 => random.between(4_000, 12_000),
            _ => random.between(12_000, 60_000),
        };
        let fate = match random.between(0, 2) {
            0 => Fate::Lost,
            1 => Fate::Late(late(random)),
            _ => Fate::Twice(late(random)),
        };
        log.insert(number, fate);
        Some(fate)
    }
}

/// How long a message takes that nothing happens to: 1 to 3 ms.
pub(super) fn travel_time(number: u64) -> Duration {
    Duration::from_micros(Random::of(number, 3).between(1_000, 3_000))
}
