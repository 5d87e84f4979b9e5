//! Effects.

pub mod tls;
