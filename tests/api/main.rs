//! The coordinator endpoint over real HTTPS: raw requests, and kubectl.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod kubectl;
mod server;
