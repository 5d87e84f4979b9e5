//! Whether a test left something on this machine: processes, mounts (pinned namespaces among them), cgroups, runc's
//! records. Other tests run at the same time, so only what can be told to be this bed's counts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long what has been ended may take to be gone: a shim ends after its task is deleted.
const LINGER: Duration = Duration::from_secs(10);

/// What a bed is known by.
#[derive(Clone)]
pub struct Traces {
    /// Below it everything of the bed is kept; it is named like no other.
    pub dir: PathBuf,
    /// containerd's namespace.
    pub namespace: String,
    /// UIDs of Pods.
    pub uids: BTreeSet<String>,
    /// Processes that may be there still.
    pub except: Vec<u32>,
}

impl Traces {
    /// Notes the Pods that have directories now, since these go.
    pub fn note_pods(&mut self) {
        let mut dirs = vec![(self.dir.join("scratch"), 0)];
        while let Some((dir, depth)) = dirs.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                if dir.ends_with("pods") && is_uid(&name) {
                    self.uids.insert(name);
                } else if depth < 4 {
                    dirs.push((entry.path(), depth + 1));
                }
            }
        }
    }

    /// Fails the test unless nothing is left in the end; a test that fails anyway only prints it.
    pub fn assert_none(&mut self) {
        for path in files(&self.dir.join("scratch")) {
            let text = fs::read_to_string(path).unwrap_or_default();
            self.uids.extend(text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter_map(uid));
        }
        let start = Instant::now();
        let mut left = self.left();
        while !left.is_empty() && start.elapsed() < LINGER {
            std::thread::sleep(Duration::from_millis(50));
            left = self.left();
        }
        if left.is_empty() {
            return;
        }
        let told = format!("the test left something on this machine:\n  {}", left.join("\n  "));
        if std::thread::panicking() {
            eprintln!("{told}");
        } else {
            panic!("{told}");
        }
    }

    fn left(&self) -> Vec<String> {
        let runc = Path::new("/run/containerd/runc").join(&self.namespace);
        let runc = runc.exists().then(|| runc.display().to_string());
        self.processes().into_iter().chain(self.mounts()).chain(self.cgroups()).chain(runc).collect()
    }

    /// Whoever was started with a path of the bed: leasehold, its log process, shims, containerd.
    fn processes(&self) -> Vec<String> {
        let within = format!("{}/", self.dir.display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("mounted").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&within) && !self.except.contains(&pid) {
                found.push(format!("process {pid}: {line}"));
            }
        }
        found
    }

    fn mounts(&self) -> Vec<String> {
        let within = format!("{}/", self.dir.join("scratch").display());
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounted");
        let ours = mounts.lines().filter(|line| line.contains(&within));
        ours.map(|line| format!("mount {line}")).collect()
    }

    /// Pods' cgroups, and those that tests without an agent make under the namespace's name.
    fn cgroups(&self) -> Vec<String> {
        let root = Path::new("/sys/fs/cgroup");
        let below = fs::read_dir(root).expect("mounted").flatten().map(|entry| entry.path());
        let mut found = Vec::new();
        for tree in std::iter::once(root.to_owned()).chain(below) {
            let own = tree.join(&self.namespace);
            found.extend(own.exists().then(|| format!("cgroup {}", own.display())));
            for parent in ["leasehold", "leasehold.slice"] {
                let pods = fs::read_dir(tree.join(parent)).into_iter().flatten().flatten();
                let ours = pods.filter(|pod| self.is_of_pod(&pod.file_name().to_string_lossy()));
                found.extend(ours.map(|pod| format!("cgroup {}", pod.path().display())));
            }
        }
        found
    }

    fn is_of_pod(&self, directory: &str) -> bool {
        let name = directory.trim_start_matches("leasehold-").trim_end_matches(".slice").replace('_', "-");
        name.strip_prefix("pod").is_some_and(|uid| self.uids.contains(uid))
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && dir.ends_with("scratch") {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "log") {
            found.push(path);
        }
    }
    found
}

fn is_uid(text: &str) -> bool {
    text.len() == 36
        && text.chars().enumerate().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}

/// A UID at the beginning of a word: container ids begin with their Pod's.
fn uid(word: &str) -> Option<String> {
    word.get(..36).filter(|part| is_uid(part)).map(str::to_owned)
}
