//! What people get wrong on the command line: each is named, with what to do, and the exit code tells 2 for what was
//! typed and 1 for what the machine refuses.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

/// Runs leasehold in a directory of its own and gives its exit code and what it said.
fn run(dir: &std::path::Path, line: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(line.split_whitespace())
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("leasehold starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it ends by itself"), String::from_utf8(said).expect("text"))
}

fn assert_told(line: &str, code: i32, parts: &[&str], got: (i32, String)) {
    let (got_code, said) = got;
    assert_eq!(got_code, code, "leasehold {line}: {said}");
    for part in parts {
        assert!(said.contains(part), "leasehold {line}: no {part:?} in: {said}");
    }
    assert!(!said.contains("panicked"), "leasehold {line}: {said}");
}

#[test]
fn what_is_typed_wrong_is_named_and_exits_with_2() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: an agent asks for root before anything else");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &[u8]| fs::write(dir.path().join(name), text).expect("writable");
    file("unknown.toml", b"lissten = \"127.0.0.1:1\"\n");
    file("broken.toml", b"listen = \n");
    file("wrong.toml", b"max-pods = \"many\"\n");
    file("bytes.toml", b"\xff\xfe");
    fs::create_dir(dir.path().join("folder.toml")).expect("creatable");
    let cases: [(&str, &[&str]); 19] = [
        ("frobnicate", &["frobnicate", "--help"]),
        ("up --bogus", &["--bogus"]),
        ("up --listen 6443", &["--listen", "an IP address and a port"]),
        ("up --listen 127.0.0.1:99999", &["127.0.0.1:99999", "an IP address and a port"]),
        ("up --node-listen localhost", &["--node-listen", "an IP address and a port"]),
        ("up --max-pods many", &["--max-pods", "many"]),
        ("up --service-cidr 10.0.0.0/40", &["--service-cidr", "ADDRESS/BITS"]),
        ("up --node-labels rack", &["--node-labels", "KEY=VALUE"]),
        ("up --register-with-taints gpu", &["--register-with-taints", "NoSchedule"]),
        ("up --node-name A_B", &["--node-name", "RFC 1123"]),
        ("up --session-duration 1", &["--session-duration 1"]),
        ("up --pressure-thresholds x<1", &["--pressure-thresholds", "memory.available"]),
        ("up --sysroot /nowhere", &["--sysroot", "/nowhere", "no such directory"]),
        ("agent --coordinator https://127.0.0.1:1", &["--token", "--ca-hash"]),
        ("up --config unknown.toml", &["unknown.toml", "lissten", "listen"]),
        ("up --config broken.toml", &["broken.toml", "line 1"]),
        ("up --config wrong.toml", &["wrong.toml", "max-pods", "many"]),
        ("up --config bytes.toml", &["bytes.toml", "UTF-8"]),
        ("up --config folder.toml", &["folder.toml", "directory"]),
    ];
    for (line, parts) in cases {
        assert_told(line, 2, parts, run(dir.path(), line));
    }
    assert_told("", 2, &["Usage:", "coordinator", "reset"], run(dir.path(), ""));
    assert_told(
        "absent file",
        2,
        &["absent.toml", "No such file"],
        run(dir.path(), "up --config absent.toml"),
    );
    let left: Vec<_> = fs::read_dir(dir.path()).expect("readable").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 5, "nothing was begun: {left:?}");
}

#[test]
fn what_the_machine_refuses_is_named_and_exits_with_1() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: an agent needs root");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), "").expect("writable");
    fs::write(dir.path().join("text.tar"), "no image").expect("writable");
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let port = taken.local_addr().expect("bound").port();
    let node = "--node-name n1 --node-ip 127.0.0.1 --runtime-dir run --log-dir log --containerd-address no.sock \
                --containerd-namespace none";
    let cases = [
        (
            format!("coordinator --data-dir a --listen 127.0.0.1:{port}"),
            vec!["--listen", "another program listens"],
        ),
        (
            format!("up --data-dir b --listen 127.0.0.1:0 --node-listen 127.0.0.1:{port} {node}"),
            vec!["--node-listen", "another program listens"],
        ),
        (
            "coordinator --data-dir c --listen 192.0.2.1:0".into(),
            vec!["--listen 192.0.2.1:0", "no such address"],
        ),
        ("coordinator --data-dir file --listen 127.0.0.1:0".into(), vec!["file"]),
        ("image list --containerd-address no.sock".into(), vec!["no.sock", "--containerd-address"]),
        ("image import nothing.tar --containerd-address no.sock".into(), vec!["nothing.tar", "No such file"]),
        ("image import text.tar --containerd-address no.sock".into(), vec!["text.tar", "tar file"]),
        ("token list --kubeconfig none".into(), vec!["no kubeconfig none", "--kubeconfig"]),
        (format!("agent --data-dir d --kubeconfig none {node}"), vec!["no kubeconfig none", "--coordinator"]),
        (format!("agent --data-dir d --kubeconfig file {node}"), vec!["kubeconfig file"]),
        ("reset --data-dir a --runtime-dir run".into(), vec!["--yes"]),
    ];
    let told: Vec<_> = cases.iter().map(|(line, _)| run(dir.path(), line)).collect();
    // An agent that got as far as its log process leaves that running; without containerd a reset still ends it.
    let reset = "reset --yes --data-dir b --runtime-dir run --log-dir log --containerd-address no.sock";
    let ended = run(dir.path(), reset);
    for ((line, parts), got) in cases.iter().zip(told) {
        assert_told(line, 1, parts, got);
    }
    assert_told(reset, 1, &["no.sock", "could not be removed"], ended);
}

#[test]
fn every_help_tells_every_flag_and_a_command_that_is_told_to_help_exits_with_0() {
    let dir = tempfile::tempdir().expect("a directory");
    for line in [
        "--help",
        "up --help",
        "coordinator --help",
        "agent --help",
        "image import --help",
        "image pull --help",
        "node facts --help",
        "token create --help",
        "reset --help",
        "version",
    ] {
        let (code, said) = run(dir.path(), line);
        assert_eq!(code, 0, "leasehold {line}: {said}");
        let fits = |text: &str| text.chars().count() <= 120 || !text.trim().contains(' ');
        assert!(said.lines().all(fits), "leasehold {line}: {said}");
        // A flag whose help is missing stands alone on its line.
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        let flags = lines.windows(2).filter(|pair| pair[0].starts_with("--"));
        for pair in flags {
            let told = pair[0].contains("  ") || !pair[1].is_empty();
            assert!(told, "leasehold {line}: {} has no help", pair[0]);
        }
    }
}
