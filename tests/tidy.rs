//! The text of ARCHITECTURE.md, held as tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that decide. They see the world as arguments only.
const PURE: [&str; 9] = [
    "src/time.rs",
    "src/api",
    "src/authorization",
    "src/lease",
    "src/placement",
    "src/agent",
    "src/steward",
    "src/coordinator",
    "src/sim",
];

/// What a pure room never names.
const IMPURE: [&str; 18] = [
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "HashMap",
    "HashSet",
    "async fn",
    "reqwest",
    "hyper",
    "axum",
    "getrandom",
    "crate::driver",
];

/// For each room, the rooms it may not import (imports run down only).
const UPWARD: [(&str, &[&str]); 7] = [
    (
        "src/api",
        &["agent", "steward", "coordinator", "lease", "placement", "client", "server", "containerd", "store"],
    ),
    ("src/authorization", &["agent", "steward", "coordinator", "client", "server", "containerd", "store"]),
    ("src/lease", &["agent", "steward", "coordinator", "client", "server", "containerd", "store"]),
    ("src/placement", &["agent", "steward", "coordinator", "client", "server", "containerd", "store"]),
    ("src/agent", &["steward", "coordinator", "client", "server", "containerd", "store"]),
    ("src/steward", &["agent", "coordinator", "client", "server", "containerd", "store"]),
    ("src/coordinator", &["agent", "steward", "client", "server", "containerd", "store"]),
];

fn sources(root: &Path) -> Vec<PathBuf> {
    if root.is_file() {
        return vec![root.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).expect("the room exists") {
        found.extend(sources(&entry.expect("readable").path()));
    }
    found.retain(|path| path.extension().is_some_and(|e| e == "rs"));
    found.sort();
    found
}

fn code_lines(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("readable");
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(i, line)| (i + 1, line.to_owned()))
        .collect()
}

#[test]
fn the_rooms_that_decide_see_no_tokio_disk_clock_or_randomness() {
    let mut broken = Vec::new();
    for path in PURE.iter().flat_map(|room| sources(Path::new(room))) {
        for (number, line) in code_lines(&path) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                broken.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "pure rooms reach for the world:\n{}", broken.join("\n"));
}

#[test]
fn imports_run_down_only() {
    let mut broken = Vec::new();
    for (room, forbidden) in UPWARD {
        for path in sources(Path::new(room)) {
            for (number, line) in code_lines(&path) {
                for other in forbidden.iter().filter(|other| line.contains(&format!("crate::{other}::"))) {
                    broken.push(format!("{}:{number}: crate::{other}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "imports run up:\n{}", broken.join("\n"));
}

#[test]
fn no_work_is_left_as_a_placeholder() {
    let mut broken = Vec::new();
    for path in sources(Path::new("src")) {
        for (number, line) in code_lines(&path) {
            for word in ["todo!", "unimplemented!", "dbg!"] {
                if line.contains(word) {
                    broken.push(format!("{}:{number}: {word}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
