//! The `log-writer` command: the node's log process.

use crate::cli::LogWriter;
use crate::driver::clock;
use crate::logs::writer;

/// Runs the log process, or starts it as nobody's child.
pub fn run(flags: &LogWriter) -> anyhow::Result<()> {
    if flags.detach {
        return Ok(writer::detach(&std::env::current_exe()?, &flags.runtime_dir)?);
    }
    Ok(writer::run(&flags.runtime_dir, clock::wall)?)
}
