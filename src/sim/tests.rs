//! The simulator itself: that it repeats itself, and that its logs are whole.

use super::*;
use crate::lease::rule::{Rule, with_broken};

#[test]
fn a_log_replays_to_the_same_end() {
    let shape = Shape { nodes: 20, chaos: 50, ..shape(7) };
    let outcome = run(7, shape);
    let script = Script::from_log(&outcome.script.to_log()).expect("a log");
    assert_eq!(script, outcome.script);
    assert_eq!(replay(script).statistics, outcome.statistics);
}

#[test]
fn a_log_that_fits_no_world_is_refused() {
    let shape =
        r#"{"world":{"nodes":1,"identities":0,"shards":1,"sessionSeconds":10,"faultsMs":0,"chaos":0}}"#;
    for (log, error) in [
        ("", "no line says"),
        ("?", "line 1"),
        (shape, "does not fit"),
        (
            &format!("{shape}\n{{\"clock\":[0,0]}}\n{{\"at\":[0,{{\"pause\":{{\"node\":1,\"ms\":1}}}}]}}"),
            "does not fit",
        ),
    ] {
        let found = Script::from_log(log).expect_err(log).to_string();
        assert!(found.contains(error), "{log}: {found}");
    }
}

/// Seeds within which every broken rule has to be found.
const SEEDS_MAX: u64 = 120;

#[test]
fn every_rule_that_is_broken_is_caught_by_an_oracle() {
    for rule in [
        Rule::CountFromSending,
        Rule::CountFoundFromSending,
        Rule::WaitForMargin,
        Rule::MonitorEnds,
        Rule::NamedIsNotFree,
        Rule::HeldUnderSession,
        Rule::RenewForReal,
        Rule::ArmFirst,
        Rule::OnePod,
        Rule::FreeTheFenced,
        Rule::AbsentSaysNothing,
    ] {
        let broken = |seed: u64| {
            let shape = Shape { nodes: 20, chaos: 50, session_seconds: 20, ..shape(seed) };
            with_broken(rule, || run(seed, shape)).violation
        };
        let caught = (0..SEEDS_MAX).find_map(|seed| broken(seed).map(|violation| (seed, violation)));
        let (seed, violation) = caught.unwrap_or_else(|| panic!("{rule:?} is broken and nobody notices"));
        println!("{rule:?}: seed {seed}: {violation}");
    }
}
