//! args → config → telemetry → driver; nothing else.

use std::process::ExitCode;

use leasehold::cli::{self, Cli, Command, Misused, Node, USAGE};
use leasehold::guard::process::Options;
use leasehold::{driver, telemetry};

/// Worker threads of the long-running commands: a node daemon leaves the machine to its Pods.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    if let Some(options) = Options::of_arguments(std::env::args_os().skip(1)) {
        return driver::guard::process(&options);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leasehold: {}", told_once(&error));
            if error.is::<Misused>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// An error and what lies under it. Many errors say themselves what their cause says; nothing is said twice.
fn told_once(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        // A refusal's message is meant for people; what else an API's error holds is not.
        let refusal = match cause.downcast_ref() {
            Some(kube::Error::Api(status)) => Some(&status.message),
            _ => None,
        };
        let text = refusal.cloned().unwrap_or_else(|| cause.to_string());
        if told.is_empty() {
            told = text;
        } else if !told.contains(text.trim_end()) {
            told = format!("{}: {text}", told.trim_end());
        }
        if refusal.is_some() {
            break;
        }
    }
    told
}

fn run() -> anyhow::Result<()> {
    let cli: Cli = cli::parse(std::env::args_os())?;
    match cli.command {
        Command::Version => {
            println!("leasehold {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Command::Node(Node::Facts { sysroot, output }) => driver::facts::run(&sysroot, output),
        Command::LogWriter(flags) => driver::log_writer::run(&flags),
        Command::Guard(flags) => driver::guard::run(&flags),
        Command::Image(command) => {
            driver::install_tls_provider();
            runtime()?.block_on(driver::images::run(command))
        }
        Command::Token(command) => {
            driver::install_tls_provider();
            runtime()?.block_on(driver::bootstrap::run(command))
        }
        Command::Brake(command) => {
            driver::install_tls_provider();
            runtime()?.block_on(driver::brake::run(command))
        }
        Command::Explain(flags) => {
            driver::install_tls_provider();
            runtime()?.block_on(driver::explain::run(flags))
        }
        Command::Identity(command) => {
            driver::install_tls_provider();
            runtime()?.block_on(driver::identity::run(command))
        }
        command @ (Command::Up(_) | Command::Coordinator(_) | Command::Agent(_) | Command::Reset(_)) => {
            telemetry::start(&cli.log, cli.log_format)?;
            driver::install_tls_provider();
            runtime()?.block_on(driver::run(command))
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()
}
