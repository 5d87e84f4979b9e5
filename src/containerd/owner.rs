//! Naming a process so that another can tell, later, whether it still lives.

use std::fs;

use procfs::process::Process;

/// This process: boot, pid and start time, which no other process ever shares.
pub(super) fn this() -> String {
    named(std::process::id() as i32).unwrap_or_default()
}

/// Whether the process of this name lives.
pub(super) fn is_alive(name: &str) -> bool {
    let pid = name.split('/').nth(1).and_then(|pid| pid.parse().ok());
    pid.and_then(named).is_some_and(|alive| alive == name)
}

fn named(pid: i32) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let start = Process::new(pid).ok()?.stat().ok()?.starttime;
    Some(format!("{}/{pid}/{start}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_pid() {
        let name = this();
        assert!(is_alive(&name));
        let (rest, start) = name.rsplit_once('/').expect("three parts");
        let earlier = start.parse::<u64>().expect("ticks") - 1;
        assert!(!is_alive(&format!("{rest}/{earlier}")));
        assert!(!is_alive("") && !is_alive("x/y/z"));
    }
}
