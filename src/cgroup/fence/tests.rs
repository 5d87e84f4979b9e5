use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::trees::Version;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// This machine's own trees as kernels of each kind have them: what is left out is what they lack.
fn machines() -> Vec<(&'static str, Cgroups)> {
    let root = Path::new("/sys/fs/cgroup");
    let own = Cgroups::detect(root, Driver::Cgroupfs).expect("cgroups");
    let mut found = Vec::new();
    if own.version() == Version::Hybrid {
        let mut v1 = own.clone();
        v1.trees.v2 = None;
        found.push(("pure v1", v1));
        let unified = Cgroups::detect(&root.join("unified"), Driver::Cgroupfs);
        found.extend(unified.ok().map(|cgroups| ("pure v2", cgroups)));
    }
    found.push(("as it is", own));
    found
}

/// A Pod's cgroup, emptied and removed whatever happens.
struct Own {
    cgroups: Cgroups,
    uid: String,
}

impl Own {
    fn new(cgroups: &Cgroups) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let own =
            Self { cgroups: cgroups.clone(), uid: format!("test-fence-{}-{number}", std::process::id()) };
        own.cgroups.trees.create(&own.path()).expect("made");
        own
    }

    fn path(&self) -> String {
        self.cgroups.pod(&self.uid).path
    }

    /// Puts a process into a container's cgroup, which is made first: as the runtime does, v2 last.
    fn join(&self, pid: u32) {
        let container = format!("{}/one", self.path());
        self.cgroups.trees.create(&container).expect("made");
        for tree in self.cgroups.trees.v1.values().chain(&self.cgroups.trees.v2) {
            fs::write(join(tree, &container).join("cgroup.procs"), pid.to_string()).expect("joined");
        }
    }

    /// Runs a script that does nothing before it has joined.
    fn start(&self, script: &str) -> Child {
        let script = format!("read word; {script}");
        let mut child =
            Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("sh starts");
        self.join(child.id());
        let sent = child.stdin.take().expect("piped").write_all(b"go\n");
        sent.expect("it listens");
        child
    }

    fn freezer_state(&self) -> Option<String> {
        let file = self.cgroups.trees.freezer(&self.path())?.join("freezer.state");
        Some(fs::read_to_string(file).expect("readable").trim().to_owned())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.cgroups.kill_all(&self.uid, PATIENCE);
        let _ = self.cgroups.remove(&self.uid);
    }
}

/// A process that is about to start: it waits for a word, then leaves `file`.
fn in_flight(file: &Path) -> (Child, ChildStdin) {
    let script = format!("read word; echo ran > {}", file.display());
    let mut child =
        Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("sh starts");
    let stdin = child.stdin.take().expect("piped");
    (child, stdin)
}

fn died_of_kill(mut child: Child) -> bool {
    child.wait().expect("our child").signal() == Some(9)
}

#[test]
fn i1_what_is_fenced_is_dead_frozen_and_stays_so_whatever_it_does() {
    for (machine, cgroups) in machines() {
        for (what, script) in [
            ("a sleeper", "sleep 1000"),
            ("one that ignores signals", "trap '' TERM INT HUP; while :; do sleep 1; done"),
            ("one that forks all the time", "while :; do : & done"),
            ("many", "for n in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; wait"),
        ] {
            let own = Own::new(&cgroups);
            let child = own.start(script);
            own.cgroups
                .fence(&own.uid, PATIENCE)
                .unwrap_or_else(|error| panic!("{machine}: {what}: {error}"));
            assert!(died_of_kill(child), "{machine}: {what}");
            assert!(own.cgroups.is_frozen(&own.uid), "{machine}: {what}");
            assert!(!own.cgroups.is_populated(&own.uid).unwrap(), "{machine}: {what}");
            assert_eq!(own.cgroups.fence_once(&own.uid).unwrap(), Fenced::Yes, "{machine}: {what}");
        }
    }
}

#[test]
fn i1_a_start_in_flight_that_joins_a_fenced_cgroup_never_runs_and_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    for (machine, cgroups) in machines() {
        let own = Own::new(&cgroups);
        own.cgroups.fence(&own.uid, PATIENCE).unwrap();
        let file = dir.path().join("ran");
        let (child, mut word) = in_flight(&file);
        own.join(child.id());
        word.write_all(b"go\n").unwrap();
        assert!(own.cgroups.is_populated(&own.uid).unwrap(), "{machine}");
        // Whether or not anyone looks: it is frozen.
        nix::poll::poll(&mut [], 50_u8).unwrap();
        own.cgroups.fence(&own.uid, PATIENCE).unwrap();
        assert!(died_of_kill(child), "{machine}");
        assert!(!file.exists(), "{machine}: it ran");
        if let Some(state) = own.freezer_state() {
            assert_ne!(state, "THAWED", "{machine}: the cgroup was never thawed");
        }
    }
}

#[test]
fn what_was_frozen_before_dies_as_well() {
    for (machine, cgroups) in machines() {
        let own = Own::new(&cgroups);
        let child = own.start("while :; do :; done");
        own.cgroups.trees.freeze(&format!("{}/one", own.path())).unwrap();
        own.cgroups.fence(&own.uid, PATIENCE).unwrap_or_else(|error| panic!("{machine}: {error}"));
        assert!(died_of_kill(child), "{machine}");
    }
}

#[test]
fn a_fenced_cgroup_is_opened_only_empty_and_then_serves_again() {
    let dir = tempfile::tempdir().unwrap();
    for (machine, cgroups) in machines() {
        let own = Own::new(&cgroups);
        own.cgroups.fence(&own.uid, PATIENCE).unwrap();
        let (late, late_file) = (in_flight(&dir.path().join("late")), dir.path().join("late"));
        let (late, mut word) = late;
        own.join(late.id());
        word.write_all(b"go\n").unwrap();
        own.cgroups.thaw(&own.uid, PATIENCE).unwrap();
        assert!(died_of_kill(late) && !late_file.exists(), "{machine}");
        assert!(!own.cgroups.is_frozen(&own.uid), "{machine}");
        let file = dir.path().join(format!("now-{}", machine.replace(' ', "-")));
        let (mut child, mut word) = in_flight(&file);
        own.join(child.id());
        word.write_all(b"go\n").unwrap();
        assert!(child.wait().unwrap().success() && file.exists(), "{machine}");
    }
}

#[test]
fn a_cgroup_that_is_absent_is_made_and_fenced() {
    for (machine, cgroups) in machines() {
        let own = Own::new(&cgroups);
        own.cgroups.remove(&own.uid).unwrap();
        own.cgroups.fence(&own.uid, PATIENCE).unwrap();
        assert!(own.cgroups.is_frozen(&own.uid), "{machine}");
        own.cgroups.remove(&own.uid).unwrap();
    }
}
