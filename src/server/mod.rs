//! Effects.

pub mod node;
pub mod tls;
