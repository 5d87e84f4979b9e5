//! The log process as a process: started, killed, replaced, while containers write.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use futures::StreamExt as _;
use leasehold::containerd::{CreateRequest, Runtime, RuntimeEvent, Stdio};
use leasehold::driver::clock;
use leasehold::logs::client::{Client, Error, Fifos, Launch, Wanted};
use leasehold::logs::control::Counts;
use leasehold::logs::format::{Record, Stream};
use leasehold::logs::{Rotation, files, writer};
use nix::fcntl::{SpliceFFlags, splice};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;

/// A runtime directory and a log directory of the test's own. What runs there is killed with it.
struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("lh-").tempdir().expect("a directory");
        // Under a name of its own, so that nothing can be started any more when the test is over.
        symlink(env!("CARGO_BIN_EXE_leasehold"), dir.path().join("leasehold")).expect("a link");
        Self { dir }
    }

    fn runtime(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    async fn client(&self) -> Client {
        let program = self.dir.path().join("leasehold");
        Client::ensure(&self.runtime(), Launch::Detached { program }).await.expect("a log process")
    }

    fn wanted(&self, id: &str) -> Wanted {
        Wanted {
            id: id.to_owned(),
            terminal: false,
            input: false,
            log: self.dir.path().join("log/pods/ns_pod_uid/main/0.log"),
            link: Some(self.dir.path().join(format!("log/containers/pod_ns_main-{id}.log"))),
            rotation: Rotation::default(),
        }
    }

    /// The process id of the log process, if one listens.
    fn pid(&self) -> Option<Pid> {
        let socket = UnixStream::connect(writer::socket(&self.runtime())).ok()?;
        let peer = getsockopt(&socket, PeerCredentials).expect("a Unix socket has a peer");
        Some(Pid::from_raw(peer.pid()))
    }

    /// All that run with our runtime directory as an argument.
    fn processes(&self) -> impl Iterator<Item = Pid> {
        let runtime = self.runtime();
        let processes = fs::read_dir("/proc").expect("readable").filter_map(|entry| {
            entry.ok().and_then(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw)
        });
        processes.filter(move |pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|argument| argument == runtime.as_os_str().as_bytes())
        })
    }

    /// Waits until no log process listens.
    async fn gone(&self) {
        while self.pid().is_some() {
            tokio::task::yield_now().await;
        }
    }

    /// Kills the log process that listens now.
    fn kill(&self) {
        if let Some(pid) = self.pid() {
            kill(pid, Signal::SIGKILL).expect("it runs");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.dir.path().join("leasehold"));
        // A client may have been about to start one.
        while let Some(pid) = self.processes().next() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// A file system of 256 KiB, mounted while it lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None, with the reason printed, where this process may not mount.
    fn mount(dir: &Path) -> Option<Self> {
        fs::create_dir_all(dir).expect("creatable");
        let mounted = mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some("size=256k"));
        match mounted {
            Ok(()) => Some(Self(dir.to_owned())),
            Err(error) => {
                eprintln!("skipped: mounting a small tmpfs: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Opens FIFOs as the shim does: for writing, and for reading lest it ever gets `SIGPIPE`.
fn shim_end(path: &Path) -> File {
    File::options().read(true).write(true).open(path).expect("the FIFO is there")
}

/// Writes the numbers from 0, one a line, in chunks that know nothing of lines, until told to stop.
struct Counter {
    written: Arc<AtomicU64>,
    goal: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

impl Counter {
    fn start(fifo: &Path) -> Self {
        let mut fifo = shim_end(fifo);
        let (written, goal) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        let (count, end) = (Arc::clone(&written), Arc::clone(&goal));
        let thread = std::thread::spawn(move || {
            let mut pending = Vec::new();
            let mut number = 0;
            let mut chunk = 1;
            while number < end.load(Ordering::Relaxed) {
                pending.extend_from_slice(format!("line number {number}\n").as_bytes());
                number += 1;
                while pending.len() > chunk {
                    fifo.write_all(&pending[..chunk]).expect("a reader is there");
                    pending.drain(..chunk);
                    chunk = chunk * 7 % 4093 + 1;
                }
                count.store(number, Ordering::Relaxed);
            }
            fifo.write_all(&pending).expect("a reader is there");
            number
        });
        Self { written, goal, thread }
    }

    /// Waits until so many more lines have been written.
    fn advance(&self, lines: u64) {
        let until = self.written.load(Ordering::Relaxed) + lines;
        while self.written.load(Ordering::Relaxed) < until && !self.thread.is_finished() {
            std::thread::yield_now();
        }
    }

    fn stop(self) -> u64 {
        self.goal.store(0, Ordering::Relaxed);
        self.thread.join().expect("the counter counts")
    }
}

/// A log's whole text, rotated files first.
fn text(log: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    for file in files::rotated(log).expect("listable") {
        let mut raw = File::open(&file.path).expect("readable");
        if file.compressed {
            flate2::read::GzDecoder::new(raw).read_to_end(&mut text).expect("gzip");
        } else {
            raw.read_to_end(&mut text).expect("readable");
        }
    }
    File::open(log).expect("the log is there").read_to_end(&mut text).expect("readable");
    text
}

/// The container's output as it can be put together again from the records.
fn outputs(text: &[u8]) -> BTreeMap<Stream, Vec<u8>> {
    let mut outputs: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record =
            Record::parse(line).unwrap_or_else(|| panic!("no record: {:?}", String::from_utf8_lossy(line)));
        assert!(record.written_at().is_some(), "no time: {}", record.time);
        let output = outputs.entry(record.stream).or_default();
        output.extend_from_slice(record.text);
        if record.whole {
            output.push(b'\n');
        }
    }
    outputs
}

#[track_caller]
fn assert_counts_without_gap(output: &[u8], lines: u64) {
    let mut expected = 0;
    for line in output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = String::from_utf8_lossy(line);
        assert_eq!(line, format!("line number {expected}"));
        expected += 1;
    }
    assert_eq!(expected, lines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_process_is_seen_dead_at_the_end_whether_it_listens_or_hangs() {
    let node = Node::new();
    leasehold::logs::end(&node.runtime()).await.expect("there is none");
    for hangs in [false, true] {
        let client = node.client().await;
        let pid = node.pid().expect("it runs");
        drop(client);
        if hangs {
            kill(pid, Signal::SIGSTOP).expect("it runs");
        }
        leasehold::logs::end(&node.runtime()).await.expect("it dies");
        assert_eq!(node.processes().next(), None, "hangs: {hangs}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_of_the_log_process_lose_and_repeat_nothing() {
    let node = Node::new();
    let client = node.client().await;
    let mut wanted = node.wanted("c1");
    wanted.rotation = Rotation { max_bytes: 300_000, max_files: 10_000 };
    let log = wanted.log.clone();
    let Fifos { stdout, stderr, .. } = client.open(wanted).await.expect("opens");
    let counters = [Counter::start(&stdout), Counter::start(&stderr.expect("no terminal"))];
    for round in 0..20 {
        counters[round % 2].advance(5_000 + 997 * round as u64);
        node.kill();
    }
    let lines = counters.map(Counter::stop);
    client.close("c1").await.expect("closes").expect("it was open");
    client.stop().await.expect("no more file is compressed");
    node.gone().await;
    let outputs = outputs(&text(&log));
    assert_counts_without_gap(&outputs[&Stream::Stdout], lines[0]);
    assert_counts_without_gap(&outputs[&Stream::Stderr], lines[1]);
    for file in files::rotated(&log).expect("listable").iter().filter(|file| !file.compressed) {
        assert!(fs::metadata(&file.path).expect("there").len() <= 300_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_agents_share_one_log_process() {
    let node = Node::new();
    let client = node.client().await;
    let pid = node.pid().expect("it listens");
    let wanted = node.wanted("c1");
    let fifos = client.open(wanted.clone()).await.expect("opens");
    let counter = Counter::start(&fifos.stdout);
    drop(client);
    for _ in 0..20 {
        counter.advance(2_000);
        let client = node.client().await;
        assert_eq!(client.open(wanted.clone()).await.expect("is open already"), fifos);
        assert_eq!(node.pid(), Some(pid));
    }
    let lines = counter.stop();
    let client = node.client().await;
    let counts = client.close("c1").await.expect("closes").expect("it was open");
    assert_eq!(counts, Counts { written_count: lines, dropped_count: 0 });
    assert_counts_without_gap(&outputs(&text(&wanted.log))[&Stream::Stdout], lines);
    assert!(!fifos.stdout.exists());
    assert_eq!(client.close("c1").await.expect("twice is fine"), None);
}

/// A container that counts as fast as it can until it is told to stop.
const COUNT: &str = r#"
    trap 'stop=1' TERM
    i=0
    until [ "$stop" ]; do echo "line number $i"; i=$((i + 1)); done
    printf 'the end'
    echo "$i lines" >&2
"#;

fn counting(image: leasehold::containerd::Image) -> CreateRequest {
    let id = support::unique("c");
    let spec = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 }, "args": ["sh", "-c", COUNT], "env": ["PATH=/bin"], "cwd": "/",
        },
        "root": { "path": "rootfs" },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": [{ "type": "pid" }, { "type": "mount" }],
        },
    });
    CreateRequest {
        id,
        labels: BTreeMap::new(),
        image,
        spec: serde_json::from_value(spec).expect("a valid spec"),
        pod_uid: support::unique("pod"),
        systemd_cgroup: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_container_s_log_has_no_gap_across_twenty_agents_and_log_processes() {
    let Some(containerd) = support::Containerd::start() else { return };
    let runtime = Runtime::new(&containerd.address(), containerd.namespace()).expect("a valid namespace");
    let archive = containerd.scratch("images").join("busybox.tar");
    support::TestImage::busybox("docker.io/library/busybox:1").write_oci_archive(&archive);
    let image = runtime.import(&archive, None, &|_| ()).await.expect("imported").remove(0);
    let mut events = runtime.events();

    let node = Node::new();
    let mut client = node.client().await;
    let request = counting(image);
    let mut wanted = node.wanted(&request.id);
    wanted.rotation.max_files = 1_000;
    let fifos = client.open(wanted.clone()).await.expect("opens");
    let stdio = Stdio { stdin: None, stdout: Some(fifos.stdout), stderr: fifos.stderr, terminal: false };
    let created = runtime.create(&request).await.expect("created");
    runtime.start(&created, &stdio, clock::wall()).await.expect("started");
    for round in 0..20 {
        let length = fs::metadata(&wanted.log).expect("there").len();
        while fs::metadata(&wanted.log).expect("there").len() == length {
            tokio::task::yield_now().await;
        }
        if round % 2 == 0 {
            node.kill();
        }
        client = node.client().await;
    }

    runtime.kill(&request.id, Signal::SIGTERM as i32, false).await.expect("running");
    let exited = |event: &RuntimeEvent| matches!(event, RuntimeEvent::Exited(exit) if exit.id == request.id);
    while !exited(&events.next().await.expect("the stream lasts")) {}
    // The task is still there: the shim may be passing on the last of it.
    client.close(&request.id).await.expect("closes").expect("it was open");
    runtime.remove(&request.id).await.expect("removed");
    client.stop().await.expect("stops");
    node.gone().await;
    let outputs = outputs(&text(&wanted.log));
    let stderr = String::from_utf8(outputs[&Stream::Stderr].clone()).expect("text");
    let lines = stderr.strip_suffix(" lines\n").and_then(|count| count.parse().ok()).expect("a number");
    let stdout = outputs[&Stream::Stdout].strip_suffix(b"the end").expect("the last output is there");
    assert_counts_without_gap(stdout, lines);
    assert!(lines > 1_000, "{lines}");
}

#[tokio::test]
async fn output_written_while_no_log_process_runs_waits_in_the_fifo() {
    let node = Node::new();
    let client = node.client().await;
    let wanted = node.wanted("c1");
    let fifos = client.open(wanted.clone()).await.expect("opens");
    client.stop().await.expect("stops");
    node.gone().await;
    {
        // The container ends, and with it the shim's hold on the FIFO.
        let mut shim = shim_end(&fifos.stdout);
        shim.write_all(b"first\nsecond\nthe e").expect("it fits");
        shim.write_all(b"nd").expect("it fits");
    }
    client.close("c1").await.expect("closes").expect("it was open");
    let text = String::from_utf8(text(&wanted.log)).expect("text");
    let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').expect("a record").1).collect();
    assert_eq!(lines, ["stdout F first", "stdout F second", "stdout P the end"]);
}

#[tokio::test]
async fn closing_waits_for_the_last_writer_and_not_for_ever() {
    let node = Node::new();
    let client = node.client().await;
    let mut wanted = [node.wanted("c1"), node.wanted("c2")];
    wanted[1].log.set_file_name("1.log");
    let mut shims = Vec::new();
    for wanted in &wanted {
        let fifos = client.open(wanted.clone()).await.expect("opens");
        shims.push(shim_end(&fifos.stdout));
    }
    let closing = tokio::spawn({
        let client = client.clone();
        async move { client.close("c1").await }
    });
    for part in ["one\n", "tw", "o\n", "unfinished"] {
        // Each part is read before the next is written.
        assert_eq!(client.list().await.expect("lists").len(), 2);
        shims[0].write_all(part.as_bytes()).expect("a reader is there");
    }
    assert!(!closing.is_finished());
    drop(shims.remove(0));
    let counts = closing.await.expect("ends").expect("closes").expect("it was open");
    assert_eq!(counts, Counts { written_count: 3, dropped_count: 0 });
    assert_eq!(outputs(&text(&wanted[0].log))[&Stream::Stdout], b"one\ntwo\nunfinished");
    // The other one is held by something that outlives its container.
    shims[0].write_all(b"something\nun").expect("a reader is there");
    client.close("c2").await.expect("closes").expect("it was open");
    assert_eq!(outputs(&text(&wanted[1].log))[&Stream::Stdout], b"something\nun");
    assert_eq!(client.list().await.expect("lists"), []);
}

#[tokio::test]
async fn files_directories_and_links_are_as_the_kubelet_makes_them() {
    let node = Node::new();
    let client = node.client().await;
    let wanted = node.wanted("c1");
    client.open(wanted.clone()).await.expect("opens");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(&wanted.log), 0o640);
    assert_eq!(mode(wanted.log.parent().expect("a directory")), 0o755);
    assert_eq!(mode(&node.runtime().join("logs")), 0o700);
    assert_eq!(mode(&node.runtime().join("logs/fifo/c1.stdout")), 0o600);
    assert_eq!(fs::read_link(wanted.link.expect("given")).expect("a link"), wanted.log);
}

#[tokio::test]
async fn rotation_keeps_files_within_their_size_and_number() {
    let node = Node::new();
    let client = node.client().await;
    let mut wanted = node.wanted("c1");
    wanted.rotation = Rotation { max_bytes: 10_000, max_files: 5 };
    let fifos = client.open(wanted.clone()).await.expect("opens");
    let mut shim = shim_end(&fifos.stdout);
    for number in 0..2_000 {
        shim.write_all(format!("line number {number}\n").as_bytes()).expect("a reader is there");
    }
    drop(shim);
    client.close("c1").await.expect("closes").expect("it was open");
    client.stop().await.expect("no more file is compressed");
    node.gone().await;
    let rotated = files::rotated(&wanted.log).expect("listable");
    assert_eq!(rotated.len(), 4);
    let text = text(&wanted.log);
    assert!(text.len() <= 50_000 && text.len() > 40_000 - 4 * 60, "{}", text.len());
    let output = String::from_utf8(outputs(&text)[&Stream::Stdout].clone()).expect("text");
    let first: u64 =
        output.lines().next().and_then(|l| l.rsplit(' ').next()?.parse().ok()).expect("a number");
    let expected: Vec<_> = (first..2_000).map(|number| format!("line number {number}")).collect();
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn long_lines_are_cut_at_16_kib_and_go_on() {
    let node = Node::new();
    let client = node.client().await;
    let wanted = node.wanted("c1");
    let fifos = client.open(wanted.clone()).await.expect("opens");
    let mut shim = shim_end(&fifos.stdout);
    let line = "0123456789".repeat(4_000);
    shim.write_all(line.as_bytes()).expect("a reader is there");
    shim.write_all(b"\nshort\n").expect("a reader is there");
    drop(shim);
    client.close("c1").await.expect("closes").expect("it was open");
    let text = text(&wanted.log);
    let records: Vec<_> = text
        .split(|byte| *byte == b'\n')
        .filter_map(Record::parse)
        .map(|r| (r.whole, r.text.len()))
        .collect();
    assert_eq!(records, [(false, 16_384), (false, 16_384), (true, 40_000 - 2 * 16_384), (true, 5)]);
    assert_eq!(outputs(&text)[&Stream::Stdout], (line + "\nshort\n").as_bytes());
}

#[tokio::test]
async fn a_pipe_filled_by_few_bytes_without_a_line_end_blocks_nobody() {
    let node = Node::new();
    let client = node.client().await;
    let wanted = node.wanted("c1");
    let fifos = client.open(wanted.clone()).await.expect("opens");
    let shim = shim_end(&fifos.stdout);
    let writer = std::thread::spawn(move || {
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        let mut writer = File::from(writer);
        for byte in [[b'x'; 1_000].as_slice(), b"\n"].concat() {
            writer.write_all(&[byte]).expect("it is empty");
            // Whatever is spliced takes one of the pipe's few slots, however short it is.
            splice(&reader, None, &shim, None, 1, SpliceFFlags::empty()).expect("a reader is there");
        }
    });
    writer.join().expect("it never blocks for ever");
    client.close("c1").await.expect("closes").expect("it was open");
    assert_eq!(outputs(&text(&wanted.log))[&Stream::Stdout], ("x".repeat(1_000) + "\n").as_bytes());
}

#[tokio::test]
async fn a_full_disk_loses_lines_and_counts_them_and_blocks_nobody() {
    let node = Node::new();
    let mut wanted = node.wanted("c1");
    let Some(_disk) = SmallDisk::mount(wanted.log.parent().expect("a directory")) else { return };
    wanted.link = None;
    let client = node.client().await;
    let fifos = client.open(wanted.clone()).await.expect("opens");
    let mut shim = shim_end(&fifos.stdout);
    for number in 0..10_000 {
        shim.write_all(format!("line number {number}\n").as_bytes()).expect("a reader is there");
    }
    let full = loop {
        let entries = client.list().await.expect("lists");
        if entries[0].counts.written_count + entries[0].counts.dropped_count == 10_000 {
            break entries[0].counts;
        }
    };
    assert!(full.written_count > 1_000 && full.dropped_count > 1_000, "{full:?}");
    fs::write(&wanted.log, "").expect("truncates");
    shim.write_all(b"there is room again\n").expect("a reader is there");
    drop(shim);
    let counts = client.close("c1").await.expect("closes").expect("it was open");
    assert_eq!(counts, Counts { written_count: full.written_count + 1, ..full });
    assert_eq!(outputs(&text(&wanted.log))[&Stream::Stdout], b"there is room again\n");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_and_named() {
    let node = Node::new();
    let client = node.client().await;
    let refusal = |result: Result<Fifos, Error>| result.expect_err("refused").to_string();
    let mut wanted = node.wanted("c1");
    wanted.log = "relative.log".into();
    let why = refusal(client.open(wanted).await);
    assert!(why.contains("relative.log: expected an absolute path"), "{why}");
    client.open(node.wanted("c1")).await.expect("opens");
    let mut other = node.wanted("c1");
    other.log.set_file_name("1.log");
    let why = refusal(client.open(other).await);
    assert!(why.contains("log c1 is open with other paths"), "{why}");
    let entries = client.list().await.expect("lists");
    assert_eq!(entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["c1"]);
}
