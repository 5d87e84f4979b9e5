//! Five thousand nodes that do nothing but renew their sessions: what they cost the coordinator.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use leasehold::driver::clock;
use leasehold::server::tls::NODES;
use tokio::task::JoinHandle;

use crate::Settings;
use crate::endpoint::{Coordinator, LEASES, create, lease};
use crate::http::{Answer, Connection, JSON, Target, request};
use crate::processes;
use crate::report::{Report, Row};
use crate::stats::{median, ms, percentile};

/// How many nodes.
pub(crate) const SESSIONS: usize = 5000;
/// As agents do it by default: a renewal every 4 s, given up after 2 s; the next attempt comes 2 s after the last.
const RENEW_EVERY: Duration = Duration::from_secs(4);
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long their cost is measured.
const MEASURED: Duration = Duration::from_secs(30);
/// Nodes that join at once.
const JOINING: usize = 32;

const CORES_AIM: f64 = 1.0;
const PSS_AIM_MIB: f64 = 150.0;

/// What the fleet has seen.
#[derive(Default)]
struct Seen {
    /// Latencies in ms, since they were last taken.
    latencies: Vec<f64>,
    /// When each session was last renewed.
    renewed: Vec<Option<Instant>>,
}

/// Nodes that keep their sessions, each over a connection and with a certificate of its own.
pub(crate) struct Fleet {
    seen: Arc<Mutex<Seen>>,
    failures: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Fleet {
    /// All nodes join and begin to renew, evenly spread over the interval.
    pub(crate) async fn join(coordinator: &Coordinator) -> anyhow::Result<Self> {
        use futures::{StreamExt as _, TryStreamExt as _};
        eprintln!("    {SESSIONS} nodes join");
        let authority = coordinator.authority()?;
        let seen = Seen { renewed: vec![None; SESSIONS], ..Seen::default() };
        let (seen, failures) = (Arc::new(Mutex::new(seen)), Arc::new(AtomicUsize::new(0)));
        let targets = (0..SESSIONS).map(|number| {
            let user = format!("system:node:{}", name(number));
            let identity = authority.issue_client(&user, &[NODES], clock::wall())?;
            anyhow::Ok(coordinator.target(&identity, &authority)?.resuming())
        });
        let targets = targets.collect::<anyhow::Result<Vec<Target>>>()?;
        let joining = targets.into_iter().enumerate().map(|(number, target)| async move {
            let mut connection = target.connect().await?;
            let made = create(&mut connection, LEASES, &lease(&name(number), 0, None)).await?;
            let version = made["metadata"]["resourceVersion"].as_str().map(str::to_owned);
            anyhow::Ok(Session { number, target, connection: Some(connection), version, serial: 0 })
        });
        let sessions: Vec<Session> =
            futures::stream::iter(joining).buffer_unordered(JOINING).try_collect().await?;
        let start = Instant::now();
        let tasks = sessions.into_iter().map(|session| {
            let first = start + RENEW_EVERY.mul_f64(session.number as f64 / SESSIONS as f64);
            tokio::spawn(session.keep(first, seen.clone(), failures.clone()))
        });
        Ok(Self { tasks: tasks.collect(), seen, failures })
    }

    /// The latencies since this was last asked, in ms.
    pub(crate) fn take_latencies(&self) -> Vec<f64> {
        std::mem::take(&mut self.seen.lock().expect("nobody panics with it").latencies)
    }

    /// When the first and the last session was renewed since `since`, and how many were not.
    pub(crate) fn renewed_since(&self, since: Instant) -> (Option<Instant>, Option<Instant>, usize) {
        let seen = self.seen.lock().expect("nobody panics with it");
        let after = || seen.renewed.iter().filter_map(|at| at.filter(|at| *at > since));
        (after().min(), after().max(), SESSIONS - after().count())
    }

    /// Forgets what was renewed so far, so that the next renewal of each counts as its first.
    pub(crate) fn forget(&self) {
        self.seen.lock().expect("nobody panics with it").renewed.fill(None);
    }

    pub(crate) fn failures(&self) -> usize {
        self.failures.load(Ordering::Relaxed)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn name(number: usize) -> String {
    format!("node-{number:04}")
}

struct Session {
    number: usize,
    target: Target,
    connection: Option<Connection>,
    version: Option<String>,
    serial: u64,
}

impl Session {
    async fn keep(mut self, first: Instant, seen: Arc<Mutex<Seen>>, failures: Arc<AtomicUsize>) {
        let mut next = first;
        loop {
            tokio::time::sleep_until(next.into()).await;
            let sent = Instant::now();
            if let Ok(Ok(())) = tokio::time::timeout(TIMEOUT, self.renew()).await {
                let mut seen = seen.lock().expect("nobody panics with it");
                seen.latencies.push(ms(sent.elapsed()));
                seen.renewed[self.number].get_or_insert_with(Instant::now);
                next = sent + RENEW_EVERY;
            } else {
                failures.fetch_add(1, Ordering::Relaxed);
                self.connection = None;
                next = sent + TIMEOUT;
            }
        }
    }

    async fn renew(&mut self) -> anyhow::Result<()> {
        let mut answer = self.put().await?;
        if answer.code == 409 {
            // The write before was done, and its answer was lost.
            let connection = self.connection.as_mut().expect("it has just been used");
            let found = connection.get(&format!("{LEASES}/{}", name(self.number))).await?.ok()?;
            self.version = found.resource_version().map(str::to_owned);
            answer = self.put().await?;
        }
        self.version = answer.ok()?.resource_version().map(str::to_owned);
        Ok(())
    }

    async fn put(&mut self) -> anyhow::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.target.connect().await?,
        };
        self.serial += 1;
        let name = name(self.number);
        let body = lease(&name, self.serial, self.version.as_deref()).to_string();
        let answer =
            connection.send(&request("PUT", &format!("{LEASES}/{name}"), JSON, body.as_bytes())).await?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let coordinator = Coordinator::start(&settings.program)?;
    let pid = coordinator.pid()?;
    let empty = processes::pss(pid)?;
    let fleet = Fleet::join(&coordinator).await?;
    tokio::time::sleep(RENEW_EVERY).await;
    fleet.take_latencies();
    let (before, start, failed) = (processes::ticks(pid)?, Instant::now(), fleet.failures());
    tokio::time::sleep(MEASURED).await;
    let cores = (processes::ticks(pid)? - before) as f64 / 100.0 / start.elapsed().as_secs_f64();
    let latencies = fleet.take_latencies();
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    let pss = processes::pss(pid)?;
    report.add(
        Row::new("5,000 sessions: the coordinator's CPU", cores, "cores")
            .aim("< 1 core", cores < CORES_AIM)
            .note(format!("{rate:.0} renewals/s, {} failed", fleet.failures() - failed)),
    );
    report.add(
        Row::new("5,000 sessions: the coordinator's PSS", pss, "MiB")
            .aim("< 150 MiB", pss < PSS_AIM_MIB)
            .note(format!("{empty:.1} MiB before; each on a TLS connection of its own")),
    );
    report.add(
        Row::new("5,000 sessions: renewal, p99", percentile(&latencies, 0.99), "ms")
            .note(format!("median {:.2} ms", median(&latencies))),
    );
    Ok(())
}
