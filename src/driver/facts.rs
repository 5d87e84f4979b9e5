//! The `node facts` command.

use std::path::Path;

use anyhow::bail;

use crate::cli::Output;
use crate::detect;
use crate::driver::print::{self, Table};

/// Prints what an agent would report about the machine below `sysroot`.
pub fn run(sysroot: &Path, output: Output) -> anyhow::Result<()> {
    if !sysroot.is_dir() {
        bail!("--sysroot {}: no such directory", sysroot.display());
    }
    let facts = detect::read(sysroot);
    if output != Output::Table {
        return print::structured(output, &facts);
    }
    let machine = &facts.machine;
    let mut table = Table::new(&["FACT", "VALUE"]);
    table.row(["cpus".into(), machine.cpu_count.to_string()]);
    table.row(["memory".into(), print::bytes(machine.memory_bytes)]);
    for (size, bytes) in &machine.huge_pages_bytes {
        table.row([format!("huge pages of {}", print::bytes(*size)), print::bytes(*bytes)]);
    }
    table.row(["kernel".into(), machine.kernel_version.clone()]);
    table.row(["os".into(), machine.os_image.clone()]);
    table.row(["machine id".into(), machine.machine_id.clone()]);
    table.print();
    println!();
    let mut labels = Table::new(&["LABEL", "VALUE"]);
    for (key, value) in &facts.labels {
        labels.row([key.clone(), value.clone()]);
    }
    labels.print();
    for warning in &facts.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(())
}
