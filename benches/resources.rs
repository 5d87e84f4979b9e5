//! What the daemons hold and use: idle, and with fifty Pods.

use std::time::Duration;

use crate::Settings;
use crate::bed::Bed;
use crate::node::{PODS, make_pods};
use crate::processes::{pss, ticks};
use crate::report::{Report, Row};

/// After the start, and after the last Pod runs, until it counts.
const SETTLE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_mins(1);

const PSS_AIM_MIB: f64 = 25.0;
const TICKS_AIM: u64 = 12;

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    whole(settings, report).await?;
    apart(settings, report).await
}

async fn whole(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let mut bed = Bed::up(settings).await?;
    let pid = bed.pids()[0];
    tokio::time::sleep(SETTLE).await;
    eprintln!("    idle for {} s", IDLE.as_secs());
    let before = ticks(pid)?;
    tokio::time::sleep(IDLE).await;
    let used = ticks(pid)? - before;
    let idle = pss(pid)?;
    report.add(Row::new("up: PSS, idle", idle, "MiB").aim("≤ 25 MiB", idle <= PSS_AIM_MIB));
    report
        .add(Row::new("up: CPU in 60 s, idle", used as f64, "ticks of 10 ms").aim("≤ 12", used <= TICKS_AIM));
    fill(&mut bed).await?;
    report.add(Row::new("up: PSS, 50 Pods", pss(pid)?, "MiB"));
    report.add(Row::new("log-writer: PSS, 50 Pods", pss(bed.log_writer()?)?, "MiB"));
    let before = ticks(pid)?;
    tokio::time::sleep(IDLE / 4).await;
    report.add(Row::new("up: CPU in 15 s, 50 idle Pods", (ticks(pid)? - before) as f64, "ticks of 10 ms"));
    Ok(())
}

async fn apart(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let mut bed = Bed::apart(settings).await?;
    let pids = bed.pids();
    let names = ["coordinator", "agent"];
    tokio::time::sleep(2 * SETTLE).await;
    for (name, pid) in names.iter().zip(&pids) {
        report.add(Row::new(format!("{name}: PSS, idle"), pss(*pid)?, "MiB"));
    }
    fill(&mut bed).await?;
    for (name, pid) in names.iter().zip(&pids) {
        report.add(Row::new(format!("{name}: PSS, 50 Pods"), pss(*pid)?, "MiB"));
    }
    Ok(())
}

async fn fill(bed: &mut Bed) -> anyhow::Result<()> {
    eprintln!("    {PODS} Pods start");
    make_pods(&bed.admin()?).await?;
    bed.all_started(PODS).await?;
    tokio::time::sleep(SETTLE).await;
    Ok(())
}
