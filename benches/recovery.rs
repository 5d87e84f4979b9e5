//! `kill -9` of a coordinator with 100,000 objects and 5,000 sessions: how long the nodes are without it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use leasehold::api::kinds;
use leasehold::coordinator::state::Object;
use leasehold::driver::clock;
use leasehold::store::embedded::Embedded;
use leasehold::store::{Store as _, Write};
use serde_json::json;

use crate::Settings;
use crate::endpoint::Coordinator;
use crate::processes;
use crate::report::{Report, Row};
use crate::sessions::Fleet;

const OBJECTS: usize = 100_000;
const BATCH: usize = 1000;
/// The fleet runs so long before the kill.
const BEFORE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_mins(1);

const FIRST_AIM_S: f64 = 3.0;
const ALL_AIM_S: f64 = 8.0;

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let mut coordinator = Coordinator::start(&settings.program)?;
    coordinator.stop()?;
    eprintln!("    {OBJECTS} objects are put into the store");
    fill(&coordinator)?;
    coordinator.boot()?;
    let fleet = Fleet::join(&coordinator).await?;
    tokio::time::sleep(BEFORE).await;
    report.add(Row::new(
        "100,000 objects and 5,000 sessions, PSS",
        processes::pss(coordinator.pid()?)?,
        "MiB",
    ));
    let killed = Instant::now();
    coordinator.kill();
    // What it answered before it died has been read by then.
    tokio::time::sleep(Duration::from_millis(20)).await;
    fleet.forget();
    coordinator.boot()?;
    let ready = killed.elapsed().as_secs_f64();
    let (first, last) = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        match fleet.renewed_since(killed) {
            (Some(first), Some(last), 0) => break (first, last),
            (_, _, missing) => {
                anyhow::ensure!(killed.elapsed() < PATIENCE, "{missing} sessions are not renewed");
            }
        }
    };
    let seconds = |at: Instant| at.duration_since(killed).as_secs_f64();
    let (first, last) = (seconds(first), seconds(last));
    report.add(
        Row::new("kill -9 → first renewal", first, "s")
            .aim("≤ 3 s", first <= FIRST_AIM_S)
            .note(format!("100,000 objects, 5,000 sessions; serves after {ready:.2} s")),
    );
    report.add(Row::new("kill -9 → all sessions renewed", last, "s").aim("≤ 8 s", last <= ALL_AIM_S));
    Ok(())
}

/// ConfigMaps straight into the store of a coordinator that is down, as it would have written them.
fn fill(coordinator: &Coordinator) -> anyhow::Result<()> {
    let mut store = Embedded::open(&coordinator.data(), "unused")?;
    let mut revision = store.load(&mut |_| Ok(()))?.revision;
    let kind = kinds::by_kind("", "v1", "ConfigMap").context("no ConfigMaps")?;
    let created = clock::wall().seconds();
    for batch in 0..OBJECTS / BATCH {
        let mut writes = Vec::with_capacity(BATCH);
        for number in batch * BATCH..(batch + 1) * BATCH {
            revision += 1;
            let value = json!({
                "metadata": {
                    "name": format!("map-{number:06}"), "namespace": "default", "creationTimestamp": created,
                    "uid": format!("00000000-0000-4000-8000-{number:012}"),
                },
                "data": { "config": "0123456789abcdef".repeat(24) },
            });
            let Object { key, json, .. } = Object::encode(kind, value, revision);
            writes.push(Write { key, previous: 0, revision, value: Some(json) });
        }
        store.commit(&writes, revision)?;
    }
    Ok(())
}
