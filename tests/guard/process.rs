//! The guard alone.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use leasehold::driver::clock;
use leasehold::guard::client::{self, Link};
use leasehold::guard::message::{Reply, Request};
use leasehold::lease::fence::FenceLevel;
use leasehold::lease::fence::watch::Charge;
use leasehold::time::Instant;

use crate::bed::{Bed, program, signal, until};
use crate::fuse::Silent;
use crate::support::on_path;

const SECOND: Duration = Duration::from_secs(1);
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(500);

/// Waits for the fence; it came at the deadline.
fn fenced_at(bed: &mut Bed, deadline: Instant) {
    until("the Pod is fenced", || bed.is_fenced().then_some(()));
    let late = clock::now().saturating_since(deadline);
    assert!(clock::now() >= deadline && late < SLACK, "{late:?} late\n{}", bed.diary());
    assert_eq!(bed.ended_by(), Some(9));
    assert!(bed.cgroups.is_frozen(&bed.uid) && !bed.cgroups.is_populated(&bed.uid).expect("it works"));
}

#[test]
fn i1_a_guard_kills_at_the_deadline_and_not_before_though_nobody_speaks_to_it() {
    let Some(mut bed) = Bed::start() else { return };
    bed.run("trap '' TERM; while :; do sleep 1; done");
    let deadline = bed.arm(SECOND);
    std::thread::sleep(SECOND / 2);
    assert!(bed.runs());
    fenced_at(&mut bed, deadline);
}

#[test]
fn a_renewal_of_the_session_moves_its_deadlines_alone() {
    let Some(mut bed) = Bed::start() else { return };
    bed.run("sleep 1000");
    bed.arm(SECOND);
    let deadline = clock::now() + 3 * SECOND;
    assert_eq!(bed.ask(&Request::Renew { session: 2, deadline: deadline + SECOND }), Reply::Done);
    assert_eq!(bed.ask(&Request::Renew { session: 1, deadline }), Reply::Done);
    std::thread::sleep(2 * SECOND);
    assert!(bed.runs());
    fenced_at(&mut bed, deadline);
    assert_eq!(bed.ask(&Request::Arm(bed.charge(SECOND))), Reply::Done, "a fenced Pod may be armed again");
}

#[test]
fn i1_a_guard_that_was_killed_is_followed_by_one_that_knows_all_deadlines() {
    let Some(mut bed) = Bed::start() else { return };
    bed.run("sleep 1000");
    let deadline = bed.arm(2 * SECOND);
    let first = bed.pid().expect("it runs");
    signal(first, "KILL");
    // Its lock outlives it by a moment.
    until("another one starts", || client::start(program(), &bed.options()).ok());
    assert_eq!(bed.entry().map(|entry| entry.charge.deadline), Some(deadline));
    fenced_at(&mut bed, deadline);
    // One that dies while everything is late.
    signal(bed.pid().expect("it runs"), "KILL");
    bed.run("sleep 1000");
    until("another one starts", || client::start(program(), &bed.options()).ok());
    until("what came meanwhile is killed", || (!bed.runs()).then_some(()));
    assert_eq!(bed.ended_by(), Some(9));
}

#[test]
fn an_upgrade_keeps_the_process_its_table_and_its_deadlines() {
    let Some(mut bed) = Bed::start() else { return };
    bed.run("sleep 1000");
    let deadline = bed.arm(3 * SECOND);
    let pid = bed.pid();
    let other = bed.dir.path().join("another");
    fs::copy(program(), &other).expect("it works");
    let number = |bed: &Bed| {
        let Reply::Hello { program, .. } = bed.ask(&Request::Hello) else { panic!("it says who it is") };
        program
    };
    let before = number(&bed);
    let nowhere = Request::Upgrade("/no/such/program".to_owned());
    assert!(matches!(bed.ask(&nowhere), Reply::Refused(_)), "it goes on as it is");
    let answer = bed.link().call(&Request::Upgrade(other.display().to_string()));
    assert!(answer.is_err(), "{answer:?}");
    until("it listens again", || Link::connect(&bed.options().runtime_dir).ok());
    assert_ne!(number(&bed), before);
    assert_eq!(bed.pid(), pid);
    signal(pid.expect("it runs"), "HUP");
    fenced_at(&mut bed, deadline);
    assert_eq!(bed.pid(), pid);
}

#[test]
fn a_second_guard_on_the_same_table_is_refused() {
    let Some(bed) = Bed::start() else { return };
    let error = client::start(program(), &bed.options()).expect_err("there is one").to_string();
    assert!(error.contains("another one runs with this table"), "{error}");
    assert_eq!(bed.ask(&Request::Hello), bed.ask(&Request::Hello));
}

#[test]
fn a_guard_that_is_told_to_stop_fences_first() {
    for by_signal in [false, true] {
        let Some(mut bed) = Bed::start() else { return };
        bed.run("trap '' TERM; while :; do sleep 1; done");
        bed.arm(1000 * SECOND);
        if by_signal {
            signal(bed.pid().expect("it runs"), "TERM");
        } else {
            bed.link().stop().expect("it works");
        }
        until("it is gone", || bed.pid().is_none().then_some(()));
        assert_eq!(bed.ended_by(), Some(9));
    }
}

#[test]
fn what_joins_late_is_killed_again_while_the_pod_is_fenced() {
    let Some(mut bed) = Bed::start() else { return };
    bed.arm(1000 * SECOND);
    assert_eq!(bed.ask(&Request::Fence(Some(bed.uid.clone()))), Reply::Done);
    until("the Pod is fenced", || bed.is_fenced().then_some(()));
    for _ in 0..5 {
        let ran = bed.dir.path().join("ran");
        bed.run(&format!("echo ran > {}", ran.display()));
        until("it is killed", || (!bed.runs()).then_some(()));
        assert_eq!(bed.ended_by(), Some(9));
        assert!(!ran.exists());
    }
}

#[test]
fn what_cannot_be_killed_is_reported_and_resets_the_machine_only_where_that_was_asked() {
    for (level, trigger) in [(FenceLevel::Kill, ""), (FenceLevel::Reset, "b")] {
        let Some(mut bed) = Bed::start() else { return };
        let Some(mut silent) = Silent::mount(&bed.dir.path().join("far")) else { return };
        bed.run(&format!("stat {}/x", bed.dir.path().join("far").display()));
        silent.swallow();
        let charge = Charge { level, ..bed.charge(SECOND) };
        let deadline = charge.deadline;
        assert_eq!(bed.ask(&Request::Arm(charge)), Reply::Done);
        until("it says so", || bed.diary().contains("cannot be killed").then_some(()));
        let late = clock::now().saturating_since(deadline);
        assert!(late >= SECOND && late < SECOND + SLACK, "half a margin, not {late:?}");
        until("the machine is reset", || {
            (fs::read_to_string(bed.dir.path().join("trigger")).expect("it works") == trigger).then_some(())
        });
        assert!(!bed.is_fenced());
        drop(silent);
        until("it counts as fenced when it is gone", || bed.is_fenced().then_some(()));
    }
}

#[test]
fn a_network_mount_of_the_pod_is_forced_off_before_it_counts_as_fenced_and_lets_go_who_waits_for_it() {
    let Some(mut bed) = Bed::start() else { return };
    let pod_dir = bed.dir.path().join("pod");
    let far = pod_dir.join("volumes/far");
    let Some(mut silent) = Silent::mount(&far) else { return };
    bed.run(&format!("stat {}/x", far.display()));
    silent.swallow();
    let dir = pod_dir.display().to_string();
    let charge = Charge { dir, margin: 10 * SECOND, ..bed.charge(SECOND) };
    let deadline = charge.deadline;
    assert_eq!(bed.ask(&Request::Arm(charge)), Reply::Done);
    fenced_at(&mut bed, deadline);
    assert_eq!(
        leasehold::volumes::mounts::network_below(&pod_dir).expect("it works"),
        [""; 0].map(std::path::PathBuf::from)
    );
}

/// What a container does in the race below: it says since when the machine has run, again and again.
fn bundle(bed: &Bed, out: &str) -> std::path::PathBuf {
    let bundle = bed.dir.path().join("bundle");
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).expect("it works");
    fs::create_dir_all(bundle.join("rootfs/proc")).expect("it works");
    let busybox = Command::new("sh").args(["-c", "command -v busybox"]).output().expect("it works").stdout;
    fs::copy(String::from_utf8(busybox).expect("it works").trim(), bin.join("busybox")).expect("it works");
    let made = Command::new("runc").args(["spec", "--bundle"]).arg(&bundle).status();
    assert!(made.expect("it works").success());
    let mut spec: serde_json::Value =
        serde_json::from_slice(&fs::read(bundle.join("config.json")).expect("it works")).expect("it works");
    let script = format!("while :; do /bin/busybox cat /proc/uptime; done >> /{out}");
    spec["process"]["args"] = serde_json::json!(["/bin/busybox", "sh", "-c", script]);
    spec["process"]["terminal"] = false.into();
    spec["hostname"] = serde_json::Value::Null;
    spec["root"]["readonly"] = false.into();
    spec["mounts"] = serde_json::json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
    spec["linux"]["namespaces"] = serde_json::json!([{ "type": "pid" }, { "type": "mount" }]);
    spec["linux"]["cgroupsPath"] = format!("{}/one", bed.cgroups.pod(&bed.uid).path).into();
    fs::write(bundle.join("config.json"), spec.to_string()).expect("it works");
    bundle
}

#[test]
fn i1_a_start_in_flight_at_the_deadline_never_runs_past_it() {
    const RACES: u64 = 60;
    if !on_path("runc") || !on_path("busybox") {
        eprintln!("skipped: runc or busybox is not installed");
        return;
    }
    let Some(bed) = Bed::start() else { return };
    let (bundle, root) = (bundle(&bed, "out"), bed.dir.path().join("runc"));
    let out = bundle.join("rootfs/out");
    let (mut ran_count, mut cut_count) = (0, 0);
    for race in 0..RACES {
        fs::write(&out, "").expect("it works");
        let deadline = bed.arm(Duration::from_millis(5 + race * 3 % 150));
        let id = format!("{}-{race}", bed.uid);
        let runc = |arguments: &[&str]| {
            let mut runc = Command::new("runc");
            runc.arg("--root").arg(&root).args(arguments).arg(&id);
            let said = fs::File::create(bed.dir.path().join("runc.log")).expect("writable");
            runc.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
            runc
        };
        let bundle = bundle.display().to_string();
        let mut start = runc(&["run", "--detach", "--bundle", &bundle]).spawn().expect("it works");
        until("the Pod is fenced", || bed.is_fenced().then_some(()));
        // However late it is, it is over soon: killed, or refused.
        let started = start.wait().expect("it works").success();
        let _ = fs::copy(bed.dir.path().join("runc.log"), bed.dir.path().join("start.log"));
        std::thread::sleep(Duration::from_millis(20));
        let said = fs::read_to_string(&out).expect("it works");
        let last = said.lines().rev().find_map(|line| line.split(' ').next()?.parse::<f64>().ok());
        let last = last.unwrap_or_default();
        let allowed = (deadline.since_boot() + SLACK).as_secs_f64();
        assert!(last <= allowed, "race {race}: ran at {last}, the deadline was {deadline:?}");
        until("nothing is left", || (!bed.cgroups.is_populated(&bed.uid).expect("it works")).then_some(()));
        assert_eq!(fs::read_to_string(&out).expect("it works"), said, "race {race}: it ran on");
        ran_count += u32::from(last > 0.0);
        cut_count += u32::from(!started);
        // Whoever opens it again: armed first.
        bed.arm(1000 * SECOND);
        bed.cgroups.thaw(&bed.uid, SECOND).expect("it works");
        let _ = runc(&["delete", "--force"]).status();
        assert_eq!(bed.ask(&Request::Disarm(bed.uid.clone())), Reply::Done);
    }
    println!("{RACES} starts: {ran_count} ran before the deadline, {cut_count} were cut in the middle");
    let said = fs::read_to_string(bed.dir.path().join("start.log")).unwrap_or_default();
    assert!(ran_count > 0 && cut_count > 0, "{said}: the races were all won by the same side");
}
