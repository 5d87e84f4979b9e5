//! Pod machines in a small world that does what they wish, fails, delays, forgets, restarts and reboots.
//!
//! A safety phase of random turns, then a liveness phase in which faults stop and everything must come to its end.
//! `pods/world.rs` is the world, `pods/oracles.rs` what must hold in it.

#[path = "pods/oracles.rs"]
mod oracles;
#[path = "pods/world.rs"]
mod world;

use proptest::prelude::*;
use serde_json::{Value, json};

use world::{Fault, Turn, World};

/// Init containers and sidecars by letter, main containers by count.
fn pod(inits: &str, mains: usize, policy: &str) -> Value {
    let init = |(at, kind): (usize, char)| match kind {
        's' => json!({"name": format!("side{at}"), "image": "img:1", "restartPolicy": "Always"}),
        _ => json!({"name": format!("init{at}"), "image": "img:1"}),
    };
    let inits: Vec<Value> = inits.chars().enumerate().map(init).collect();
    let mains: Vec<Value> =
        (0..mains).map(|at| json!({"name": format!("main{at}"), "image": "img:1"})).collect();
    json!({"metadata": {"name": "p", "namespace": "ns", "uid": "uid", "generation": 1}, "spec": {
        "restartPolicy": policy, "initContainers": inits, "containers": mains,
        "volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 30}})
}

/// What a container is asked and told, by letter: `s`tartup, `r`eadiness, `l`iveness, `g`reeted (postStart), `w`arned
/// (preStop). Init containers get nothing.
fn equip(mut pod: Value, letters: &[&str]) -> Value {
    let command = json!({"exec": {"command": ["true"]}});
    let probe = |failures: u32| json!({"exec": {"command": ["true"]}, "periodSeconds": 5, "failureThreshold": failures});
    let mut letters = letters.iter();
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().expect("a list") {
            let Some(letters) = letters.next() else { break };
            if container["name"].as_str().is_some_and(|name| name.starts_with("init")) {
                continue;
            }
            for letter in letters.chars() {
                match letter {
                    's' => container["startupProbe"] = probe(2),
                    'r' => container["readinessProbe"] = probe(1),
                    'l' => container["livenessProbe"] = probe(2),
                    'g' => container["lifecycle"]["postStart"] = command.clone(),
                    _ => container["lifecycle"]["preStop"] = command.clone(),
                }
            }
        }
    }
    pod
}

fn any_pod() -> impl Strategy<Value = Value> {
    let policy = prop::sample::select(vec!["Always", "OnFailure", "Never"]);
    let letters = prop::sample::select(vec!["", "", "r", "l", "s", "srl", "g", "w", "gsrlw"]);
    ("[is]{0,3}", 1..3_usize, policy, prop::collection::vec(letters, 5))
        .prop_map(|(inits, mains, policy, letters)| equip(pod(&inits, mains, policy), &letters))
}

fn any_turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        12 => any::<prop::sample::Index>().prop_map(|at| Turn::Perform(at, Fault::None)),
        3 => (any::<prop::sample::Index>(), any_fault()).prop_map(|(at, fault)| Turn::Perform(at, fault)),
        12 => any::<prop::sample::Index>().prop_map(Turn::Deliver),
        3 => (any::<prop::sample::Index>(), prop::sample::select(vec![0, 0, 1, 137]))
            .prop_map(|(at, code)| Turn::Exit(at, code)),
        3 => Just(Turn::Deadline),
        1 => (0..700_u64).prop_map(Turn::Sleep),
        1 => Just(Turn::Spurious),
        1 => Just(Turn::SourcesChanged),
        4 => prop::bool::ANY.prop_map(Turn::AgentRestart),
        1 => Just(Turn::RecordLost),
        2 => Just(Turn::Calm),
        1 => Just(Turn::Stranger),
        1 => Just(Turn::Containerd),
        1 => prop::bool::ANY.prop_map(Turn::Reboot),
        1 => (0..40_u64).prop_map(Turn::Delete),
        1 => Just(Turn::NewImage),
    ]
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![Fault::Fails, Fault::FailsLate, Fault::Ignored])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_pod_is_safe_and_once_faults_stop_it_runs_and_ends(
        pod in any_pod(),
        turns in prop::collection::vec(any_turn(), 0..120),
        gone in prop::bool::ANY,
    ) {
        let mut world = World::new(pod);
        for turn in turns {
            world.take(&turn);
        }
        world.calm();
        oracles::it_runs_or_has_ended(&world);
        world.restart_agent();
        world.calm();
        oracles::it_runs_or_has_ended(&world);
        if gone { world.vanish() } else { world.delete(30) }
        world.calm();
        oracles::nothing_is_left(&world);
    }
}

/// A life without faults: containers end with these codes, in order, then run on.
struct Life {
    name: &'static str,
    pod: Value,
    exits: &'static [(&'static str, i32)],
    deleted: bool,
}

fn lives() -> Vec<Life> {
    vec![
        Life { name: "start", pod: pod("", 1, "Always"), exits: &[], deleted: false },
        Life { name: "two", pod: pod("", 2, "Always"), exits: &[("main0", 1)], deleted: false },
        Life {
            name: "init",
            pod: pod("isi", 1, "Always"),
            exits: &[("init0", 1), ("init0", 0), ("init2", 0)],
            deleted: false,
        },
        Life {
            name: "crash loop",
            pod: pod("", 1, "OnFailure"),
            exits: &[("main0", 1), ("main0", 1), ("main0", 2)],
            deleted: false,
        },
        Life { name: "job", pod: pod("s", 1, "Never"), exits: &[("main0", 0)], deleted: false },
        Life { name: "failed init", pod: pod("si", 1, "Never"), exits: &[("init1", 3)], deleted: false },
        Life { name: "deleted", pod: pod("ss", 2, "Always"), exits: &[], deleted: true },
        Life {
            name: "probed",
            pod: equip(pod("s", 2, "Always"), &["srl", "srl", "r"]),
            exits: &[],
            deleted: false,
        },
        Life {
            name: "told",
            pod: equip(pod("s", 2, "Always"), &["gw", "grw", "w"]),
            exits: &[("main0", 1)],
            deleted: false,
        },
        Life {
            name: "told and deleted",
            pod: equip(pod("s", 2, "Always"), &["gsw", "srlw", "w"]),
            exits: &[],
            deleted: true,
        },
        Life { name: "deleted job", pod: pod("", 1, "Never"), exits: &[("main0", 0)], deleted: true },
    ]
}

/// Lives it to its end, or to `stop` steps: what was started, and the last status. Says whether the end was reached.
fn live(life: &Life, stop: Option<usize>, half_made: bool) -> (World, bool) {
    let mut world = World::new(life.pod.clone());
    let mut exits = life.exits.iter();
    let mut deleted = false;
    let mut restarted = stop.is_none();
    for step in 0.. {
        if Some(step) == stop {
            world.crash_agent(half_made);
            restarted = true;
        }
        assert!(step < 10_000, "{}: it does not come to an end", life.name);
        if world.step() {
            continue;
        }
        if let Some((name, code)) = exits.as_slice().first()
            && world.exit_named(name, *code)
        {
            exits.next();
            continue;
        }
        // Probes go on for ever.
        let rests = exits.as_slice().is_empty() && oracles::only_probes_go_on(&world);
        if !rests && world.sleep_to_deadline() {
            continue;
        }
        if !life.deleted || std::mem::replace(&mut deleted, true) {
            break;
        }
        world.delete(30);
    }
    (world, restarted)
}

#[test]
fn i5_a_restart_of_the_agent_at_any_point_of_a_life_restarts_nothing_and_changes_no_end() {
    for life in lives() {
        let (whole, _) = live(&life, None, false);
        for half_made in [false, true] {
            for stop in 0.. {
                let (cut, restarted) = live(&life, Some(stop), half_made);
                if !restarted {
                    break;
                }
                let case = format!("{}, restarted at step {stop}, half made: {half_made}", life.name);
                assert_eq!(cut.started_runs(), whole.started_runs(), "{case}");
                assert_eq!(cut.summary(), whole.summary(), "{case}");
            }
        }
    }
}
