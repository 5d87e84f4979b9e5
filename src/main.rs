//! args → config → telemetry → driver; nothing else.

use leasehold::cli::{self, Command};
use leasehold::driver::clock;
use leasehold::{logs, telemetry};

fn main() -> anyhow::Result<()> {
    let cli = cli::parse(std::env::args_os())?;
    telemetry::start(&cli.log, cli.log_format)?;
    match cli.command {
        Command::LogWriter(flags) if flags.detach => {
            Ok(logs::writer::detach(&std::env::current_exe()?, &flags.runtime_dir)?)
        }
        Command::LogWriter(flags) => Ok(logs::writer::run(&flags.runtime_dir, clock::wall)?),
        Command::Version => {
            println!("leasehold {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        command @ (Command::Up(_)
        | Command::Coordinator(_)
        | Command::Agent(_)
        | Command::Image(_)
        | Command::Node(_)
        | Command::Reset(_)) => anyhow::bail!("{command:?} is not part of this build"),
    }
}
