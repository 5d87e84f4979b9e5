//! The coordinator's data directory: kill -9, full disks, damaged and foreign files.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the server is shared with the tests of the API, which use more of it"
)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod damage;
mod full_disk;
mod kill;
#[path = "../api/server.rs"]
mod server;
