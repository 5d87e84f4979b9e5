//! The only file that reads a clock.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::time::{Instant, WallTime};

/// `CLOCK_BOOTTIME`: monotonic, counts suspend.
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME since 2.6.39");
    Instant::from_boot(Duration::new(time.tv_sec() as u64, time.tv_nsec() as u32))
}

/// The wall clock, for people.
#[expect(clippy::disallowed_methods, reason = "this is the file that reads the clock")]
pub fn wall() -> WallTime {
    WallTime(jiff::Timestamp::now())
}
