//! `make bench`: what leasehold costs, next to what nobody can do without: bare containerd calls, SQLite's group commit,
//! etcd on the same disk.
//!
//! Every figure that depends on the machine's speed is measured in turn with its floor in the same run, and given as
//! the ratio of the two: a machine that does other work meanwhile slows both. Figures are medians unless they say
//! otherwise. Everything runs on loopback and in temporary directories, and is gone afterwards.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads clocks; it has no driver")]

mod bed;
#[path = "../tests/support/containerd.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests, which use the rest")]
mod containerd;
mod endpoint;
mod etcd;
mod floor;
mod http;
#[path = "../tests/support/image.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests, which use the rest")]
mod image;
#[path = "../tests/support/leaks.rs"]
#[allow(unreachable_pub, reason = "shared with the tests")]
mod leaks;
mod lists;
mod node;
mod processes;
mod recovery;
mod report;
mod resources;
mod sessions;
mod stats;
mod store;
mod watchers;
mod writes;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use leaks::Traces;
use report::{Format, Report};

/// A section that takes longer than this has failed.
const SECTION_TIMEOUT: Duration = Duration::from_mins(3);

const USAGE: &str = "usage: bench [-o table|json] [SECTION…]
sections: pods burst resources writes sessions watchers lists recovery (all of them when none is named)";

/// What sections are given.
struct Settings {
    /// The release binary.
    program: PathBuf,
}

type Work<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;
type Section = for<'a> fn(&'a Settings, &'a mut Report) -> Work<'a>;

/// In the order in which they run.
const SECTIONS: [(&str, Section); 8] = [
    ("pods", |settings, report| Box::pin(node::pods(settings, report))),
    ("burst", |settings, report| Box::pin(node::burst(settings, report))),
    ("resources", |settings, report| Box::pin(resources::measure(settings, report))),
    ("writes", |settings, report| Box::pin(writes::measure(settings, report))),
    ("watchers", |settings, report| Box::pin(watchers::measure(settings, report))),
    ("lists", |settings, report| Box::pin(lists::measure(settings, report))),
    ("sessions", |settings, report| Box::pin(sessions::measure(settings, report))),
    ("recovery", |settings, report| Box::pin(recovery::measure(settings, report))),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let (format, wanted) = arguments()?;
    leasehold::driver::install_tls_provider();
    let settings = Settings { program: program()? };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = sections(&settings, &wanted) => Ok(report),
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    let report = report?;
    print!("{}", report.render(format));
    anyhow::ensure!(!report.failed(), "a section failed");
    Ok(())
}

/// What to print, and the sections that are asked for.
fn arguments() -> anyhow::Result<(Format, Vec<String>)> {
    let (mut format, mut wanted) = (Format::Table, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-o" => {
                format = match arguments.next().as_deref() {
                    Some("json") => Format::Json,
                    Some("table") => Format::Table,
                    _ => bail!("{USAGE}"),
                };
            }
            name if SECTIONS.iter().any(|(section, _)| *section == name) => wanted.push(name.to_owned()),
            _ => bail!("{USAGE}"),
        }
    }
    Ok((format, wanted))
}

/// The release binary, which cargo puts beside the directory of examples.
fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let found = own.ancestors().nth(2).map(|dir| dir.join("leasehold")).filter(|path| path.is_file());
    found.context("target/release/leasehold is missing: run `make bench`")
}

async fn sections(settings: &Settings, wanted: &[String]) -> Report {
    let mut report = Report::default();
    for (name, section) in SECTIONS {
        if !wanted.is_empty() && !wanted.iter().any(|wish| wish == name) {
            continue;
        }
        eprintln!("==> {name}");
        let start = Instant::now();
        report.section = name;
        let ended = tokio::time::timeout(SECTION_TIMEOUT, section(settings, &mut report)).await;
        match ended {
            Ok(Ok(())) => eprintln!("    {name} took {:.0} s", start.elapsed().as_secs_f64()),
            Ok(Err(error)) => report.fail(&format!("{error:#}")),
            Err(_) => report.fail(&format!("not done after {} s", SECTION_TIMEOUT.as_secs())),
        }
    }
    report
}
