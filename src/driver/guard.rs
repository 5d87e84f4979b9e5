//! The `guard` command: the process that fences when the agent cannot.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::cli::Guard;
use crate::driver::agent::runtime_dir;
use crate::driver::clock;
use crate::guard::client::{self, Link};
use crate::guard::process::{self, Options};
use crate::lease::fence::watch::{Entry, Standing};

/// Becomes the guard, or starts it as nobody's child: the program is executed anew with bare arguments, so that nothing
/// of what read these flags stays in memory.
pub fn run(flags: &Guard) -> anyhow::Result<()> {
    let runtime_dir = runtime_dir(flags.runtime_dir.as_deref(), &flags.containerd_namespace);
    let runtime_dir = std::path::absolute(runtime_dir).context("--runtime-dir")?;
    if flags.status {
        return status(&runtime_dir);
    }
    super::commands::need_root()?;
    let options = Options { runtime_dir, reset_trigger: flags.reset_trigger.clone() };
    let program = std::env::current_exe().context("finding this program")?;
    let hurried = client::hurry();
    if flags.detach {
        return Ok(client::detach(&program, &options)?);
    }
    if !hurried {
        eprintln!("leasehold guard: it runs at an ordinary priority: chrt is absent, or not permitted");
    }
    Err(Command::new(program).args(options.arguments()).exec().into())
}

/// The program as the guard: it has no tracing, no arguments to parse, and never returns to the rest.
pub fn process(options: &Options) -> ExitCode {
    match process::run(options, clock::now) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leasehold {error}");
            ExitCode::FAILURE
        }
    }
}

fn status(runtime_dir: &Path) -> anyhow::Result<()> {
    let unreachable = || format!("no guard can be reached below {}", runtime_dir.display());
    let mut link = Link::connect(runtime_dir).with_context(unreachable)?;
    let entries = link.status().with_context(unreachable)?;
    println!("{:<40} {:<8} {:<8} LEVEL", "POD UID", "STATE", "LEFT");
    for entry in entries {
        println!("{}", line(&entry));
    }
    Ok(())
}

fn line(entry: &Entry) -> String {
    let state = match entry.standing {
        Standing::Armed => "armed",
        Standing::Due { .. } => "due",
        Standing::Fenced => "fenced",
    };
    let left = entry.charge.deadline.saturating_since(clock::now());
    let left = format!("{}.{}s", left.as_secs(), left.subsec_millis() / 100);
    format!("{:<40} {state:<8} {left:<8} {}", entry.charge.uid, entry.charge.level)
}
