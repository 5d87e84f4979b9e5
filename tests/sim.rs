//! The simulator as a gate: hundreds of clusters, and everything that can go wrong has gone wrong in some of them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use leasehold::sim::{self, Outcome, Statistics};

/// Runs; `SIM_RUNS` asks for more, `SIM_FIRST` for other seeds.
const RUNS: u64 = 300;
/// Where the log of a run that went wrong is kept.
const LOGS: &str = env!("CARGO_TARGET_TMPDIR");

/// What must have happened in some run, and how often in all.
const MUST_HAPPEN: [(&str, u64); 39] = [
    ("Pod offered", 1_000),
    ("brake drawn", 1),
    ("brake let go", 1),
    ("conflict", 1),
    ("container killed by the guard", 1),
    ("dead Pod deleted by a steward", 1),
    ("fault: Pod deleted by force", 1),
    ("fault: agent killed", 1),
    ("fault: agent paused", 1),
    ("fault: another writes to a session", 1),
    ("fault: another writes to a shard", 1),
    ("fault: backup restored", 1),
    ("fault: cannot hear", 1),
    ("fault: cannot send", 1),
    ("fault: coordinator away", 1),
    ("fault: cut off", 1),
    ("fault: full disk", 1),
    ("fault: guard killed", 1),
    ("fault: identity lost", 1),
    ("fault: machine rebooted", 1),
    ("fault: node drained", 1),
    ("fault: session lost", 1),
    ("fault: silent watch", 1),
    ("fault: slow disk", 1),
    ("gap found", 1),
    ("identity freed after a revocation", 1),
    ("identity handed over to another node", 1),
    ("message doubled", 1),
    ("message late", 1),
    ("message lost", 1),
    ("restored store noticed", 1),
    ("session created as revoked", 1),
    ("session expired", 1),
    ("session of a paused node revoked", 1),
    ("session revoked", 1),
    ("shard given back", 1),
    ("shard lost", 1),
    ("watch broken", 1),
    ("write applied after its sender gave up", 1),
];

/// Of shards and identities, from one agent to another.
const HAND_OVERS_MIN: u64 = 1_000;

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var_os(variable).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(default)
}

/// Plays the seeds on two threads, since the machine has two cores or more.
fn play(first: u64, runs: u64) -> (Statistics, Vec<String>) {
    let next = AtomicU64::new(0);
    let worker = || {
        let (mut statistics, mut failures) = (Statistics::default(), Vec::new());
        loop {
            let seed = first + next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + runs {
                return (statistics, failures);
            }
            let outcome = sim::run(seed, sim::shape(seed));
            statistics.add(&outcome.statistics);
            failures.extend(failure(seed, &outcome));
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        let (mut statistics, mut failures) = worker();
        let (more, others) = other.join().expect("no run panics");
        statistics.add(&more);
        failures.extend(others);
        (statistics, failures)
    })
}

/// Says how a run went wrong, and keeps its log.
fn failure(seed: u64, outcome: &Outcome) -> Option<String> {
    let violation = outcome.violation.as_ref()?;
    let log = Path::new(LOGS).join(format!("sim-{seed}.log"));
    std::fs::write(&log, outcome.script.to_log()).expect("the log can be kept");
    let history = sim::replay(outcome.script.clone()).history;
    let lines: Vec<String> =
        history.iter().map(|(at, what)| format!("{:>10.3} {what}", at.as_secs_f64())).collect();
    let told = log.with_extension("txt");
    std::fs::write(&told, lines.join("\n")).expect("the history can be kept");
    let (log, told) = (log.display(), told.display());
    Some(format!("seed {seed}: {violation}\n  its events are in {log}, what happened in {told}"))
}

#[test]
fn no_fault_breaks_an_invariant_and_afterwards_everything_converges() {
    let runs = number_from("SIM_RUNS", RUNS);
    let (statistics, failures) = play(number_from("SIM_FIRST", 0), runs);
    for (what, count) in statistics.iter() {
        println!("{count:>12} {what}");
    }
    assert!(failures.is_empty(), "{} of {runs} runs went wrong:\n{}", failures.len(), failures.join("\n"));
    let never = MUST_HAPPEN.iter().filter(|(what, least)| statistics.of(what) < *least);
    let never: Vec<&str> = never.map(|(what, _)| *what).collect();
    assert!(never.is_empty(), "too rare to say that they were tried: {never:?}");
    let hand_overs =
        statistics.of("shard handed over") + statistics.of("identity handed over to another node");
    assert!(hand_overs >= HAND_OVERS_MIN, "{hand_overs} hand-overs only");
}
