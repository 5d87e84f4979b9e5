//! A cluster in one process: the machines of the binary in a world made up from a seed. PURE.
//!
//! [`run`] plays a [`Script`]: a coordinator by the rules of the API, nodes with clocks that run apart, messages that
//! are lost, late, doubled and overtaken, and deeds such as a partition, a pause or a restored backup. The agents in it
//! run the real [`Session`](crate::lease::session::Session), [`Shards`](crate::lease::shard::Shards),
//! [`Monitor`](crate::lease::monitor::Monitor), [`Claim`](crate::lease::identity::Claim),
//! [`Fence`](crate::lease::fence::holder::Fence), [`Gate`](crate::lease::fence::gate::Gate),
//! [`Offers`](crate::steward::offers::Offers) and [`Claims`](crate::agent::claims::Claims), their guards the real
//! [`Watch`](crate::lease::fence::watch::Watch); what surrounds them here is the driver's part alone.
//!
//! A run has two phases. While there are faults, the oracles of safety look after every event. Then the faults stop, and
//! after a while the oracles of liveness expect that everything is as it should be.
//!
//! Architecture invariant: a script decides everything. Two runs of one script are the same, event by event.

mod agent;
mod calls;
mod clock;
mod deeds;
mod host;
mod identities;
mod machine;
mod oracles;
mod pods;
mod random;
mod script;
mod statistics;
mod store;
mod watches;
mod workloads;
mod world;

use std::time::Duration;

pub use oracles::Violation;
pub use script::{Deed, Fate, LogError, Script, Shape};
pub use statistics::Statistics;

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The script with everything that was drawn while it ran: it replays.
    pub script: Script,
    /// What happened, counted.
    pub statistics: Statistics,
    /// The first thing that must not happen, if it did.
    pub violation: Option<Violation>,
    /// What happened, in words, and when; empty unless it was asked for.
    pub history: Vec<(Duration, String)>,
}

/// Draws a world from a seed and runs it.
pub fn run(seed: u64, shape: Shape) -> Outcome {
    let script = script::draw(seed, shape);
    let fates = script::Fates::Drawn { random: random::Random::of(seed, 4), chaos: shape.chaos };
    world::World::new(script, fates).run()
}

/// Plays a script again, and tells what happens.
pub fn replay(script: Script) -> Outcome {
    world::World::new(script, script::Fates::Logged).telling().run()
}

/// A shape drawn from a seed: `nodes` at least 20 and at most 200, mostly few.
pub fn shape(seed: u64) -> Shape {
    let mut random = random::Random::of(seed, 5);
    let nodes = if random.permille(20) { random.between(60, 200) } else { random.between(20, 24) } as u32;
    let session_seconds = [10, 20][random.between(0, 1) as usize];
    Shape {
        nodes,
        identities: nodes / 2,
        shards: random.between(4, 12) as u32,
        session_seconds,
        faults_ms: session_seconds * 6_000,
        chaos: [0, 5, 20, 50][random.between(0, 3) as usize],
    }
}

#[cfg(test)]
mod tests;
