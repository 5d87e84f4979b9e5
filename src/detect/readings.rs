//! How much of the machine is free just now. Always of the real machine: a fixture has no load.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::agent::pressure::{Readings, Room, Signal};

/// Reads memory, processes, and the file systems of the agent's data and (where known) of images.
pub fn read(data_dir: &Path, images_dir: Option<&Path>) -> Readings {
    let mut readings = Readings::new();
    readings.extend(memory().map(|room| (Signal::MemoryAvailable, room)));
    readings.extend(processes().map(|room| (Signal::PidAvailable, room)));
    for (dir, bytes, inodes) in [
        (Some(data_dir), Signal::NodefsAvailable, Signal::NodefsInodesFree),
        (images_dir, Signal::ImagefsAvailable, Signal::ImagefsInodesFree),
    ] {
        let Some(fs) = dir.and_then(|dir| statvfs(dir).ok()) else { continue };
        let of = |blocks: u64| blocks * fs.fragment_size();
        readings.insert(bytes, Room { available: of(fs.blocks_available()), capacity: of(fs.blocks()) });
        // Some file systems (btrfs) have no bound on inodes, and say 0 of 0.
        if fs.files() > 0 {
            readings.insert(inodes, Room { available: fs.files_available(), capacity: fs.files() });
        }
    }
    readings
}

fn memory() -> Option<Room> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    Some(Room { available: bytes("MemAvailable")?, capacity: bytes("MemTotal")? })
}

/// The tighter of the kernel's two bounds, less what runs.
fn processes() -> Option<Room> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let bounds = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].into_iter().filter_map(number);
    let capacity = bounds.min()?;
    // The fourth field: runnable and existing scheduling entities.
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let existing: u64 = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Room { available: capacity.saturating_sub(existing), capacity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_how_much_it_has_of_everything() {
        let readings = read(Path::new("/"), Some(Path::new("/tmp")));
        for signal in
            [Signal::MemoryAvailable, Signal::PidAvailable, Signal::NodefsAvailable, Signal::ImagefsAvailable]
        {
            let room = readings[&signal];
            assert!(room.available > 0 && room.available <= room.capacity, "{signal:?}: {room:?}");
        }
    }
}
