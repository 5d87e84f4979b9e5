//! The `image` commands.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use crate::cli::{ContainerdFlags, Image as Command, Output};
use crate::containerd::{Image, Progress, Runtime};
use crate::driver::print::{self, Table};

/// Performs one `image` command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Import { file, containerd } => import(&file, &containerd).await,
        Command::List { output, containerd } => list(output, &containerd).await,
        Command::Pull { reference, containerd } => pull(&reference, &containerd).await,
        Command::Remove { reference, containerd } => {
            runtime(&containerd)?.remove_image(&reference).await.context("removing the image")?;
            println!("removed {reference}");
            Ok(())
        }
    }
}

fn runtime(flags: &ContainerdFlags) -> anyhow::Result<Runtime> {
    let runtime = Runtime::new(&flags.containerd_address, &flags.containerd_namespace)?;
    Ok(runtime.with_registry_config(&flags.registry_config_dir))
}

async fn import(file: &Path, containerd: &ContainerdFlags) -> anyhow::Result<()> {
    for image in runtime(containerd)?.import(file, None, &show).await? {
        say(&image);
    }
    Ok(())
}

async fn pull(reference: &str, containerd: &ContainerdFlags) -> anyhow::Result<()> {
    let image = runtime(containerd)?.pull(reference, None, &show).await?;
    say(&image);
    Ok(())
}

fn say(image: &Image) {
    println!("{} {}", image.names.first().map_or("", String::as_str), image.digest);
}

/// One line on a terminal, rewritten as things go on.
fn show(progress: Progress) {
    let mut out = std::io::stderr();
    if !out.is_terminal() {
        return;
    }
    let line = match progress {
        Progress::Resolved { name, digest } => format!("{name} is {digest}"),
        Progress::Fetched { digest, offset, total } => {
            format!(
                "{} {}/{}",
                digest.get(..19).unwrap_or(&digest),
                print::bytes(offset),
                print::bytes(total)
            )
        }
        Progress::Unpacked { layer, layers } => format!("unpacked layer {} of {layers}", layer + 1),
    };
    // Progress that cannot be shown is no failure.
    let _ = write!(out, "\r\x1b[K{line}\r").and_then(|()| out.flush());
}

async fn list(output: Output, containerd: &ContainerdFlags) -> anyhow::Result<()> {
    let images = runtime(containerd)?.images().await.context("listing images")?;
    if output != Output::Table {
        let items: Vec<_> = images
            .iter()
            .map(|image| json!({ "names": image.names, "digest": image.digest, "sizeBytes": image.size }))
            .collect();
        return print::structured(output, &items);
    }
    let mut table = Table::new(&["NAME", "DIGEST", "SIZE"]);
    for image in &images {
        for name in image.names.iter().filter(|name| !name.contains('@')) {
            let digest = image.digest.get(..19).unwrap_or(&image.digest);
            table.row([name.clone(), digest.to_owned(), print::bytes(image.size)]);
        }
    }
    table.print();
    Ok(())
}
