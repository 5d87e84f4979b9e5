//! Scenarios in prose with golden answers: `tests/scenarios/<world>_<name>.txt`.
//!
//! A scenario is a list of blocks, parted by blank lines. A block is one or more input lines, a line `----`, and the
//! answer up to the next blank line. Indented lines belong to the input line above them. Lines that begin with `#` are
//! prose. The word before the first `_` of the file's name says which world reads the inputs.
//!
//! `UPDATE_SCENARIOS=1 cargo test --test scenarios` writes the answers found into the files, to be read before they are
//! committed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[path = "scenarios/daemon_set.rs"]
mod daemon_set;
#[path = "scenarios/daemon_set_orders.rs"]
mod daemon_set_orders;
#[path = "scenarios/lease_store.rs"]
mod lease_store;
#[path = "scenarios/offers.rs"]
mod offers;
#[path = "scenarios/pod.rs"]
mod pod;
#[path = "scenarios/session.rs"]
mod session;
#[path = "scenarios/session_faults.rs"]
mod session_faults;
#[path = "scenarios/steward.rs"]
mod steward;
#[path = "scenarios/steward_laws.rs"]
mod steward_laws;
#[path = "scenarios/steward_nodes.rs"]
mod steward_nodes;
#[path = "scenarios/steward_store.rs"]
mod steward_store;

/// What a scenario's inputs act upon.
pub(crate) trait World {
    /// Takes one input line with the lines indented below it; answers with lines of text.
    fn input(&mut self, line: &str, body: &str) -> String;

    /// Closes a block: anything to be said once after its inputs.
    fn end_of_block(&mut self) -> String {
        String::new()
    }
}

fn world(kind: &str) -> Option<Box<dyn World>> {
    match kind {
        "pod" => Some(Box::new(pod::PodWorld::default())),
        "daemonset" => Some(Box::new(daemon_set::DaemonSetWorld::default())),
        "offers" | "placement" => Some(Box::new(offers::OffersWorld::default())),
        "session" => Some(Box::new(session::SessionWorld::default())),
        "steward" => Some(Box::new(steward::StewardWorld::default())),
        _ => None,
    }
}

/// One input line and what is indented below it.
struct Input {
    line: String,
    body: String,
}

/// Plays one scenario; yields its text with the answers that were found.
fn play(text: &str, world: &mut dyn World) -> String {
    let mut played = String::new();
    let mut inputs: Vec<Input> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indented = line.starts_with(' ');
        if line == "----" {
            played.push_str("----\n");
            played.push_str(&answer(&std::mem::take(&mut inputs), world));
            played.push('\n');
            lines.by_ref().find(|line| line.is_empty());
            continue;
        }
        let _ = writeln!(played, "{line}");
        match inputs.last_mut() {
            Some(input) if indented => {
                let _ = writeln!(input.body, "{line}");
            }
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => inputs.push(Input { line: line.to_owned(), body: String::new() }),
        }
    }
    assert!(inputs.is_empty(), "inputs without `----` at the end: {}", inputs[0].line);
    played
}

fn answer(inputs: &[Input], world: &mut dyn World) -> String {
    let mut answer: String = inputs.iter().map(|input| world.input(&input.line, &input.body)).collect();
    answer += &world.end_of_block();
    if answer.is_empty() { "nothing\n".into() } else { answer }
}

fn check(path: &Path) -> Result<(), String> {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let kind = name.split('_').next().unwrap_or_default();
    let mut world = world(kind).ok_or_else(|| format!("{name}: no world is called {kind}"))?;
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let played = play(&text, world.as_mut());
    if played.trim_end() == text.trim_end() {
        return Ok(());
    }
    if std::env::var_os("UPDATE_SCENARIOS").is_some() {
        return std::fs::write(path, format!("{}\n", played.trim_end())).map_err(|error| error.to_string());
    }
    Err(format!("{name}:\n{}", difference(&text, &played)))
}

/// The first lines that differ, with what is around them.
fn difference(expected: &str, found: &str) -> String {
    let at = expected.lines().zip(found.lines()).take_while(|(a, b)| a == b).count();
    let part = |text: &str, mark: &str| {
        text.lines().skip(at.saturating_sub(3)).take(14).fold(String::new(), |mut part, line| {
            let _ = writeln!(part, "  {mark} {line}");
            part
        })
    };
    format!("from line {}:\n{}found:\n{}", at + 1, part(expected, "-"), part(found, "+"))
}

#[test]
fn every_scenario_gets_its_golden_answers() {
    let entries = std::fs::read_dir("tests/scenarios").expect("the scenarios' folder exists");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "txt"));
    paths.sort();
    assert!(!paths.is_empty(), "no scenarios");
    let failures: Vec<String> = paths.iter().filter_map(|path| check(path).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
