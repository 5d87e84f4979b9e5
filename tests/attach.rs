//! Attach, terminals, copies and forwarded ports the whole way, over WebSocket and SPDY: kubectl, coordinator, node,
//! containerd, container and back.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use support::{BUSYBOX, PATIENCE, Up, digest_of, feed};

/// What kubectl is told to speak: its own choice (WebSocket, since 1.31), or what it spoke before.
const WAYS: [(&str, &str); 2] = [("WebSocket", "true"), ("SPDY", "false")];

/// kubectl that speaks one of [`WAYS`].
fn kubectl(up: &Up, web_sockets: &str, args: &[&str]) -> Command {
    let mut command = up.kubectl_command(args);
    command
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", web_sockets)
        .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", web_sockets);
    command
}

/// A Pod on the node's network with one container.
fn pod(name: &str, container: &str, script: &str) -> String {
    let command = serde_json::json!(["sh", "-c", script]);
    format!(
        r"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, labels: {{ app: {name} }} }}
spec:
  nodeName: n1
  hostNetwork: true
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - {{ name: main, image: {BUSYBOX}, command: {command}, {container} }}
"
    )
}

/// A program on a terminal of 40 rows and 100 columns.
struct OnTerminal {
    child: Child,
    screen: File,
    seen: String,
}

impl OnTerminal {
    fn start(mut command: Command) -> Self {
        let size = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a terminal");
        let end = || Stdio::from(pty.slave.try_clone().expect("a file descriptor"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts");
        Self { child, screen: pty.master.into(), seen: String::new() }
    }

    fn types(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).expect("it is there");
    }

    /// Reads on until this is on the screen.
    fn shows(&mut self, what: &str) {
        let start = Instant::now();
        while !self.seen.contains(what) {
            assert!(start.elapsed() < PATIENCE / 3, "no {what:?} in {:?}", self.seen);
            let mut bytes = [0; 4096];
            let mut waited = [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waited, PollTimeout::from(100_u8)).expect("pollable") == 0 {
                continue;
            }
            // A terminal whose last program has gone cannot be read.
            let count = self.screen.read(&mut bytes).unwrap_or(0);
            assert!(count > 0, "no {what:?} in {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        let end = self.seen.find(what).expect("it was seen") + what.len();
        self.seen.drain(..end);
    }

    fn resize(&self, rows: u16, columns: u16) {
        let name =
            fs::read_link(format!("/proc/{}/fd/0", self.child.id())).expect("its input is the terminal");
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let done = Command::new("stty").arg("-F").arg(name).args(["rows", &rows, "cols", &columns]).status();
        assert!(done.is_ok_and(|status| status.success()));
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGWINCH).expect("it is our child");
    }

    fn ends(mut self) -> i32 {
        // It may wait for its screen to be read.
        let mut rest = Vec::new();
        let _ = self.screen.read_to_end(&mut rest);
        self.child.wait().expect("it is our child").code().expect("it was not killed")
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_container_takes_its_input_from_whoever_attaches_first() {
    let Some(up) = Up::start(&[]) else { return };
    for (way, web_sockets) in WAYS {
        let name = format!("once-{}", way.to_lowercase());
        let script = "while read line; do echo got $line; done; echo the end >&2; exit 3";
        up.apply(&pod(&name, "stdin: true, stdinOnce: true", script));
        up.running(&format!("app={name}"));
        let output = feed(kubectl(&up, web_sockets, &["attach", "-i", &name]), "one\ntwo\n");
        // With SPDY as with WebSocket the end of kubectl's input is the end of the container's.
        assert_eq!(text(&output.stdout), "got one\ngot two\n", "{way}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("the end\n"), "{way}: {}", text(&output.stderr));
        up.until("its end", || {
            let pod = up.json(&["get", "pod", &name]);
            let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            (ended["exitCode"] == 3).then_some(())
        });
        assert_eq!(up.ok(&["logs", &name]), "got one\ngot two\nthe end\n", "{way}");
    }
}

#[test]
fn many_clients_see_what_one_container_puts_out_and_its_log_lacks_nothing() {
    let Some(up) = Up::start(&[]) else { return };
    let script = "read go; i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done";
    up.apply(&pod("many", "stdin: true", script));
    up.running("app=many");
    let watchers: Vec<_> = WAYS
        .into_iter()
        .cycle()
        .take(4)
        .map(|(_, web_sockets)| kubectl(&up, web_sockets, &["attach", "many"]).spawn().expect("it starts"))
        .collect();
    // One that does not read at all: it is not waited for.
    let idle = Running(kubectl(&up, "true", &["attach", "many"]).spawn().expect("it starts"));
    let taps = || {
        let sockets = fs::read_to_string("/proc/net/unix").expect("readable");
        let path = up.dir.join("run/logs/control.sock");
        sockets.lines().filter(|line| line.ends_with(&*path.to_string_lossy())).count()
    };
    // The listener, the agent's connection, and five taps.
    up.until("five clients", || (taps() >= 7).then_some(()));
    let told = feed(kubectl(&up, "true", &["attach", "-i", "many", "--quiet"]), "go\n");
    assert!(told.status.success(), "{}", text(&told.stderr));
    let expected: String = (0..20_000).fold(String::new(), |all, n| all + &format!("line {n}\n"));
    for watcher in watchers {
        let output = watcher.wait_with_output().expect("it ends");
        assert!(text(&output.stdout) == expected, "{} bytes", output.stdout.len());
    }
    assert!(up.ok(&["logs", "many"]) == expected);
    drop(idle);
}

#[test]
fn a_terminal_is_attached_to_with_its_prompt_and_size_and_left_running() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&pod("term", "stdin: true, tty: true", "PS1='prompt> ' exec sh"));
    up.running("app=term");
    for (_, web_sockets) in WAYS {
        let mut terminal = OnTerminal::start(kubectl(&up, web_sockets, &["attach", "-it", "term"]));
        // The prompt was there before us, and is no whole line.
        terminal.shows("prompt> ");
        terminal.types("stty size\n");
        terminal.shows("40 100\r\n");
        terminal.resize(50, 120);
        std::thread::sleep(Duration::from_millis(300));
        terminal.types("stty size; echo $((6 * 7))\n");
        terminal.shows("50 120\r\n");
        terminal.shows("42\r\n");
    }
    let pod = up.running("app=term");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    let mut terminal = OnTerminal::start(kubectl(&up, "true", &["attach", "-it", "term"]));
    terminal.types("exit\n");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn an_exec_on_a_terminal_begins_with_its_size_and_ends_with_its_exit_code() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&pod("host", "stdin: false", "exec sleep infinity"));
    up.running("app=host");
    for (way, web_sockets) in WAYS {
        let args =
            ["exec", "-it", "host", "--", "sh", "-c", "stty size; echo $TERM; read a; stty size; exit 5"];
        let mut terminal = OnTerminal::start(kubectl(&up, web_sockets, &args));
        terminal.shows("40 100\r\n");
        terminal.shows("xterm\r\n");
        terminal.resize(24, 80);
        std::thread::sleep(Duration::from_millis(300));
        terminal.types("\n");
        terminal.shows("24 80\r\n");
        assert_eq!(terminal.ends(), 5, "{way}");

        let mut echo = OnTerminal::start(kubectl(&up, web_sockets, &["exec", "-it", "host", "--", "cat"]));
        echo.types("hello\n");
        echo.shows("hello\r\nhello\r\n");
        // Ctrl-D ends the input, Ctrl-C the program.
        echo.types("\u{4}");
        assert_eq!(echo.ends(), 0, "{way}");
        let mut killed = OnTerminal::start(kubectl(&up, web_sockets, &["exec", "-it", "host", "--", "cat"]));
        killed.types("x\n");
        killed.shows("x\r\nx\r\n");
        killed.types("\u{3}");
        assert_eq!(killed.ends(), 130, "{way}");
    }
}

#[test]
fn commands_and_copies_of_five_megabytes_go_both_ways_unharmed() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&pod("files", "stdin: false", "exec sleep infinity"));
    up.running("app=files");
    let noise: Vec<u8> = (0..5_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (there, back) = (up.dir.join("there"), up.dir.join("back"));
    fs::write(&there, &noise).expect("writable");
    for (way, web_sockets) in WAYS {
        let remote = format!("files:/tmp/{way}");
        let copied = kubectl(&up, web_sockets, &["cp", &there.to_string_lossy(), &remote]).output();
        let copied = copied.expect("kubectl runs");
        assert!(copied.status.success(), "{way}: {}", text(&copied.stderr));
        let copied = kubectl(&up, web_sockets, &["cp", &remote, &back.to_string_lossy()]).output();
        assert!(copied.expect("kubectl runs").status.success(), "{way}");
        assert_eq!(digest_of(&fs::read(&back).expect("it came")), digest_of(&noise), "{way}");
        fs::remove_file(&back).expect("it is there");

        let input = "neither short nor long\n".repeat(50_000);
        let script = "wc -c; echo err >&2; exit 4";
        let output =
            feed(kubectl(&up, web_sockets, &["exec", "-i", "files", "--", "sh", "-c", script]), &input);
        assert_eq!(text(&output.stdout).trim(), input.len().to_string(), "{way}");
        assert!(text(&output.stderr).starts_with("err\n"), "{way}");
        assert_eq!(output.status.code(), Some(4), "{way}");
        let missing = kubectl(&up, web_sockets, &["exec", "files", "--", "no-such-program"]).output();
        let missing = text(&missing.expect("kubectl runs").stderr);
        assert!(missing.contains("no-such-program"), "{way}: {missing}");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("loopback has free ports").port()
}

/// A `kubectl port-forward`, and the local port it listens on.
fn forward(up: &Up, web_sockets: &str, pod: &str, port: u16) -> (Running, u16) {
    let args = ["port-forward", pod, &format!(":{port}")];
    let mut running = Running(kubectl(up, web_sockets, &args).spawn().expect("it starts"));
    let mut lines = BufReader::new(running.0.stdout.take().expect("piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("it says where");
    let local = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
    let local = local.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
    // Its output is read on, lest it be in its way.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    (running, local)
}

/// The body of a web page.
fn fetch(port: u16, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("settable");
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).expect("connected");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    answer.split_off(head + 4)
}

#[test]
fn ports_of_pods_on_the_nodes_network_and_on_their_own_are_forwarded() {
    let Some(up) = Up::start(&[]) else { return };
    let web = free_port();
    let serve = |address: &str| {
        format!(
            "dd if=/dev/urandom of=/www/noise bs=1M count=3; echo {address} > /www/name; exec httpd -f -p {address} -h /www"
        )
    };
    up.apply(&pod("host", "stdin: false", &serve(&format!("127.0.0.1:{web}"))));
    let mut pods = vec![("host", web)];
    if give_network(&up) {
        let manifest = pod("own", "stdin: false", &serve("0.0.0.0:80")).replace("hostNetwork: true", "");
        up.apply(&manifest);
        pods.push(("own", 80));
    } else {
        eprintln!("skipped: no CNI plugins for a Pod with a network of its own");
    }
    for (name, port) in pods {
        up.running(&format!("app={name}"));
        for (way, web_sockets) in WAYS {
            let hash_there = up.ok(&["exec", name, "--", "sh", "-c", "busybox sha256sum < /www/noise"]);
            let (_running, local) = forward(&up, web_sockets, &format!("pod/{name}"), port);
            let all: Vec<_> = (0..8).map(|_| std::thread::spawn(move || fetch(local, "/noise"))).collect();
            for fetched in all {
                let fetched = fetched.join().expect("fetched");
                assert_eq!(fetched.len(), 3 << 20, "{name} {way}");
                let here = digest_of(&fetched);
                let here = here.trim_start_matches("sha256:");
                assert!(hash_there.starts_with(here), "{name} {way}");
            }
            assert!(text(&fetch(local, "/name")).contains(&port.to_string()), "{name} {way}");
        }
    }
    // Nobody listens there: kubectl is told why.
    let silent = free_port();
    for (way, web_sockets) in WAYS {
        let args = ["port-forward", "host", &format!(":{silent}")];
        let mut running = Running(kubectl(&up, web_sockets, &args).spawn().expect("it starts"));
        let mut line = String::new();
        let mut lines = BufReader::new(running.0.stdout.take().expect("piped"));
        lines.read_line(&mut line).expect("it says where");
        let local: u16 =
            line.split(':').nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a port");
        let _ = TcpStream::connect(("127.0.0.1", local)).and_then(|mut s| s.read_to_end(&mut Vec::new()));
        let mut complaint = String::new();
        let mut errors = BufReader::new(running.0.stderr.take().expect("piped"));
        errors.read_line(&mut complaint).expect("it says why");
        let expected = format!("failed to connect to localhost:{silent}: IPv4: Connection refused");
        assert!(complaint.contains(&expected), "{way}: {complaint}");
    }
}

/// Gives the node a CNI configuration that leaves nothing on this machine once its Pods are gone.
fn give_network(up: &Up) -> bool {
    if !Path::new("/usr/lib/cni/ptp").exists() {
        return false;
    }
    let network = serde_json::json!({
        "cniVersion": "1.0.0", "name": "test", "type": "ptp",
        "ipam": { "type": "host-local", "dataDir": up.dir.join("ipam"), "ranges": [[{ "subnet": "10.213.17.0/24" }]] },
    });
    fs::create_dir_all(up.dir.join("cni")).expect("writable");
    fs::write(up.dir.join("cni/10-test.conf"), network.to_string()).expect("writable");
    true
}

/// What the official Python client does with a Pod named `py`: it speaks `v4.channel.k8s.io`.
const PYTHON: &str = r#"
import sys
from kubernetes import client, config
from kubernetes.stream import portforward, stream
config.load_kube_config(sys.argv[1])
core = client.CoreV1Api()
out = stream(core.connect_get_namespaced_pod_exec, "py", "default", command=["echo", "from exec"],
             stdin=False, stdout=True, stderr=True, tty=False)
print(out.strip())
session = stream(core.connect_get_namespaced_pod_exec, "py", "default",
                 command=["sh", "-c", "read word; echo got $word; echo bad >&2; exit 3"],
                 stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
session.write_stdin("frog\n")
session.run_forever(timeout=30)
print(session.read_stdout().strip(), session.read_stderr().strip(), session.returncode)
forward = portforward(core.connect_get_namespaced_pod_portforward, "py", "default", ports=sys.argv[2])
socket = forward.socket(int(sys.argv[2]))
socket.setblocking(True)
socket.sendall(b"GET /name HTTP/1.0\r\n\r\n")
answer = b""
while part := socket.recv(4096):
    answer += part
print(answer.split(b"\r\n\r\n")[1].decode().strip(), forward.error(int(sys.argv[2])))
print(core.connect_get_namespaced_pod_proxy_with_path("py:" + sys.argv[2], "default", "name").strip())
"#;

/// A Python with the official client, made in the test's own directory; none where pip cannot get it.
fn python(up: &Up) -> Option<std::path::PathBuf> {
    let venv = up.dir.join("venv");
    let ran = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let made = ran(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let install = ["install", "--quiet", "--no-compile", "--disable-pip-version-check", "kubernetes"];
    (made && ran(Command::new(venv.join("bin/pip")).args(install))).then(|| venv.join("bin/python"))
}

#[test]
fn the_python_client_runs_commands_and_forwards_ports() {
    let Some(up) = Up::start(&[]) else { return };
    let Some(python) = python(&up) else {
        return eprintln!("skipped: no Python, or pip cannot get the client");
    };
    let web = free_port();
    let script = format!("echo forwarded > /www/name; exec httpd -f -p 127.0.0.1:{web} -h /www");
    up.apply(&pod("py", "stdin: false", &script));
    up.running("app=py");
    let output = Command::new(python)
        .args(["-c", PYTHON])
        .arg(up.kubeconfig())
        .arg(web.to_string())
        .env("NO_PROXY", "*")
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "from exec\ngot frog bad 3\nforwarded None\nforwarded\n");
}

#[test]
fn logs_of_all_containers_and_of_many_pods_are_told_apart_and_requests_are_passed_on() {
    let Some(up) = Up::start(&[]) else { return };
    let web = free_port();
    let serve = format!("echo a line; echo passed on > /www/name; exec httpd -f -p 127.0.0.1:{web} -h /www");
    up.apply(&pod("one", "stdin: false", &serve));
    let two = pod("two", "stdin: false", "echo a line; exec sleep infinity");
    let side = format!(
        "  - {{ name: side, image: {BUSYBOX}, command: [sh, -c, 'echo aside; exec sleep infinity'] }}\n"
    );
    up.apply(&(two.replace("app: two", "app: two, set: all") + &side));
    up.apply(&pod("never", "stdin: false", "true").replace(BUSYBOX, "example.test/absent:1"));
    up.running("app=one");
    up.running("app=two");
    let mut lines: Vec<String> =
        up.ok(&["logs", "two", "--all-containers", "--prefix"]).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["[pod/two/main] a line", "[pod/two/side] aside"]);
    assert_eq!(up.ok(&["logs", "-l", "set=all", "-c", "side"]), "aside\n");
    assert_eq!(up.ok(&["logs", "two", "-c", "side", "--limit-bytes=3"]), "asi");
    let waiting = |why: &str| format!("container \"main\" in pod \"never\" is waiting to start: {why}");
    up.until("a refusal that names the image", || {
        let said = text(&up.kubectl(&["logs", "never"]).stderr);
        let told = ["image can't be pulled", "trying and failing to pull image"];
        told.iter().any(|why| said.contains(&waiting(why))).then_some(())
    });
    let path = format!("/api/v1/namespaces/default/pods/one:{web}/proxy/name");
    assert_eq!(up.ok(&["get", "--raw", &path]), "passed on\n");
    assert!(up.ok(&["get", "--raw", "/api/v1/nodes/n1/proxy/metrics"]).contains("leasehold_pods"));
}
