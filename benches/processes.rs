//! Child processes, and what the kernel says of them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    /// The line with which it said that it is ready.
    pub(crate) greeting: String,
}

impl Program {
    /// Starts a command and waits for the line on its standard output that says it is ready. Its log goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = fs::File::options().create(true).append(true).open(log).context("opening a log")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let mut greeting = String::new();
        let output = child.stdout.take().context("no output")?;
        BufReader::new(output).read_line(&mut greeting)?;
        let program = Self { child, greeting };
        if !program.greeting.contains("is ready") {
            bail!("{command:?} did not get ready:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        Ok(program)
    }

    /// Starts a command that says nothing. Both its outputs go to `log`.
    pub(crate) fn start_quiet(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = fs::File::options().create(true).append(true).open(log).context("opening a log")?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.with_context(|| format!("starting {command:?}"))?;
        Ok(Self { child, greeting: String::new() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with `SIGTERM`.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes in a MiB.
pub(crate) const MIB: f64 = 1_048_576.0;

/// A field of a file of `Name: N kB` lines below /proc/PID, in MiB.
fn field(pid: u32, file: &str, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("no {name} in /proc/{pid}/{file}"))? / 1024.0)
}

/// Proportional set size, MiB.
pub(crate) fn pss(pid: u32) -> anyhow::Result<f64> {
    field(pid, "smaps_rollup", "Pss")
}

/// Resident set, MiB.
pub(crate) fn rss(pid: u32) -> anyhow::Result<f64> {
    field(pid, "status", "VmRSS")
}

/// Largest resident set since [`forget_peak`], MiB.
pub(crate) fn peak(pid: u32) -> anyhow::Result<f64> {
    field(pid, "status", "VmHWM")
}

/// Starts the peak afresh.
pub(crate) fn forget_peak(pid: u32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("resetting the peak of memory")
}

/// Clock ticks of CPU (user and system) that a process has used; 100 make a second.
pub(crate) fn ticks(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = text.rsplit_once(')').context("no /proc/PID/stat")?.1;
    let numbers: Vec<u64> = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
    Ok(numbers.iter().sum())
}

/// Pids of processes whose command line holds all of these words.
pub(crate) fn find(words: &[&str]) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if words.iter().all(|word| line.contains(word)) {
            found.push(pid);
        }
    }
    found
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
