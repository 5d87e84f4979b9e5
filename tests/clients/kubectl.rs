//! Sessions with kubectl (`kubectl/*.txt`) on a whole node, played with each version at hand, each in a namespace that
//! has its name.

use std::path::{Path, PathBuf};

use crate::session::{self, Terminal};
use crate::support::Up;

fn sessions() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/kubectl");
    let entries = std::fs::read_dir(&folder).expect("the sessions' folder is there");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    found.sort();
    assert!(!found.is_empty(), "no sessions in {}", folder.display());
    found
}

/// The kubectl of this machine.
fn installed() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("kubectl"));
    found.find(|file| file.exists()).expect("kubectl is installed")
}

/// Plays a session at home in `directory`, in the namespace `name`.
fn play(up: &Up, session: &Path, name: &str, kubectl: &Path) -> Result<(), String> {
    let directory = up.dir.join("home").join(name);
    let (tools, kubeconfig) = (directory.join("tools"), directory.join("kubeconfig"));
    std::fs::create_dir_all(&tools).expect("made");
    std::os::unix::fs::symlink(kubectl, tools.join("kubectl")).expect("linked");
    std::fs::copy(up.kubeconfig(), &kubeconfig).expect("copied");
    let terminal = Terminal { directory: &directory, tools: &tools, kubeconfig: &kubeconfig };
    terminal.run(&format!(
        "kubectl create namespace {name}; kubectl config set-context --current --namespace={name}
         until kubectl get serviceaccount default; do sleep 0.2; done"
    ));
    session::play(session, &terminal)
}

fn play_all(kubectl: &Path) -> Vec<String> {
    let Some(up) = Up::start(&[]) else { return Vec::new() };
    let played = sessions().into_iter().filter_map(|path| {
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        play(&up, &path, name, kubectl).err()
    });
    played.collect()
}

/// One after the other: their Pods want the same ports of this machine.
#[test]
fn sessions_go_as_written_with_the_kubectl_of_this_machine_an_older_and_a_newer_one() {
    for kubectl in [installed(), crate::client("bin/kubectl-1.28"), crate::client("bin/kubectl-1.36")] {
        let faults = play_all(&kubectl);
        assert!(faults.is_empty(), "{}:\n{}", kubectl.display(), faults.join("\n"));
    }
}
