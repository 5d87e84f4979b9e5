//! Durable writes: Leases renewed over HTTPS by 64 clients, held against SQLite's group commit without an API around
//! it, and against etcd's puts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Settings;
use crate::endpoint::{Coordinator, LEASES, create, lease};
use crate::etcd::Etcd;
use crate::http::{JSON, Target, request};
use crate::processes;
use crate::report::{Report, Row};
use crate::stats::{median, ms, paired_ratio, percentile};
use crate::store;

const CLIENTS: usize = 64;
/// Bytes of an object, as a session's Lease has.
const SIZE: usize = 700;
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(4);

/// Aim: the endpoint reaches this part of the disk's group-commit rate, and its slowest percent stays below.
const RATE_AIM: f64 = 0.7;
const P99_AIM_MS: f64 = 30.0;

/// Rates per second and 99th percentiles in ms, round by round.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    p99s: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, latencies: &[f64]) {
        self.rates.push(latencies.len() as f64 / ROUND.as_secs_f64());
        self.p99s.push(percentile(latencies, 0.99));
    }
}

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let coordinator = Coordinator::start(&settings.program)?;
    let etcd = Etcd::start().await?;
    let directory = tempfile::Builder::new().prefix("lh-bench-store-").tempdir()?;
    let target = coordinator.admin()?;
    prepare(&target).await?;
    let (mut leases, mut floor, mut puts, mut cpu) = <(Rounds, Rounds, Rounds, Vec<f64>)>::default();
    for round in 1..=ROUNDS {
        eprintln!("    round {round} of {ROUNDS}");
        floor.add(&store::writes(directory.path(), CLIENTS, SIZE, ROUND).await?);
        let before = processes::ticks(coordinator.pid()?)?;
        let latencies = renew_all(&target).await?;
        let used = processes::ticks(coordinator.pid()?)? - before;
        cpu.push(used as f64 * 1e4 / latencies.len() as f64);
        leases.add(&latencies);
        if let Some(etcd) = &etcd {
            puts.add(&etcd.puts(CLIENTS, SIZE, ROUND).await?);
        }
    }
    let (rate, base) = (median(&leases.rates), median(&floor.rates));
    let ratio = paired_ratio(&leases.rates, &floor.rates);
    report.add(
        Row::new("durable writes/s of the store, 64 writers", base, "/s")
            .note(format!("p99 {:.1} ms", median(&floor.p99s))),
    );
    report.add(
        Row::new("Lease updates/s over HTTPS, 64 clients", rate, "/s")
            .floor("store alone", base, ratio)
            .aim("≥ 0.70 × floor", ratio >= RATE_AIM)
            .note(format!("{:.0} µs of the coordinator's CPU each", median(&cpu))),
    );
    let p99 = median(&leases.p99s);
    report.add(Row::new("… 99th percentile", p99, "ms").aim("< 30 ms", p99 < P99_AIM_MS));
    if etcd.is_some() {
        let (rate, ratio) = (median(&puts.rates), paired_ratio(&leases.rates, &puts.rates));
        report.add(
            Row::new("Lease updates/s over HTTPS, 64 clients", median(&leases.rates), "/s")
                .floor("etcd puts, no TLS", rate, ratio)
                .note(format!("etcd's p99 {:.1} ms", median(&puts.p99s))),
        );
    }
    Ok(())
}

async fn prepare(target: &Target) -> anyhow::Result<()> {
    let mut connection = target.connect().await?;
    for client in 0..CLIENTS {
        create(&mut connection, LEASES, &lease(&name(client), 0, None)).await?;
    }
    Ok(())
}

fn name(client: usize) -> String {
    format!("writer-{client}")
}

/// All clients renew one Lease each as fast as they are answered; the latencies in ms.
async fn renew_all(target: &Target) -> anyhow::Result<Vec<f64>> {
    let over = Arc::new(AtomicBool::new(false));
    let connected = Arc::new(tokio::sync::Barrier::new(CLIENTS + 1));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(renew(target.clone(), client, connected.clone(), over.clone())))
        .collect();
    connected.wait().await;
    tokio::time::sleep(ROUND).await;
    over.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await??);
    }
    Ok(latencies)
}

async fn renew(
    target: Target,
    client: usize,
    connected: Arc<tokio::sync::Barrier>,
    over: Arc<AtomicBool>,
) -> anyhow::Result<Vec<f64>> {
    let mut connection = target.connect().await?;
    let path = format!("{LEASES}/{}", name(client));
    let mut version = connection.get(&path).await?.ok()?.resource_version().map(str::to_owned);
    connected.wait().await;
    let (mut latencies, mut serial) = (Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        serial += 1;
        let body = lease(&name(client), serial, version.as_deref()).to_string();
        let request = request("PUT", &path, JSON, body.as_bytes());
        let start = Instant::now();
        let answer = connection.send(&request).await?.ok()?;
        latencies.push(ms(start.elapsed()));
        version = answer.resource_version().map(str::to_owned);
    }
    Ok(latencies)
}
