//! What one node does, as pure machines: which DaemonSets it hosts, and each Pod's life cycle. PURE.
//!
//! Machines take inputs and the time, and yield effects and the next deadline; the driver performs the effects, and
//! the answers come back as inputs.

pub mod claims;
pub mod daemon_set;
pub mod downward;
pub mod env_file;
pub mod environment;
pub mod expansion;
pub mod files;
pub mod identity;
pub mod pod;
pub mod pressure;
pub mod pull_secrets;
pub mod sources;
pub mod tokens;
