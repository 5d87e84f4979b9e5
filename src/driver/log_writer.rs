//! The `log-writer` command: the node's log process.

use crate::cli::LogWriter;
use crate::driver::clock;
use crate::logs::writer;

/// Runs the log process, or starts it as nobody's child. It logs plainly, without filters: it is to stay small.
pub fn run(flags: &LogWriter) -> anyhow::Result<()> {
    if flags.detach {
        return Ok(writer::detach(&std::env::current_exe()?, &flags.runtime_dir)?);
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    Ok(writer::run(&flags.runtime_dir, clock::wall)?)
}
