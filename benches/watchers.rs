//! One object, a thousand watchers, ten updates a second: how long until the last watcher has heard.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::Settings;
use crate::endpoint::{Coordinator, create};
use crate::http::{Target, request};
use crate::processes;
use crate::report::{Report, Row};
use crate::stats::{median, ms, percentile};

const WATCHERS: usize = 1000;
const UPDATES: usize = 150;
const INTERVAL: Duration = Duration::from_millis(100);
/// Watchers that connect at once.
const CONNECTING: usize = 32;
/// After the last update, so long is waited for whoever has not heard.
const PATIENCE: Duration = Duration::from_secs(10);

const AIM_MS: f64 = 100.0;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A watcher has heard of an update.
struct Heard {
    update: usize,
    at: Instant,
}

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let coordinator = Coordinator::start(&settings.program)?;
    let target = coordinator.admin()?;
    let mut connection = target.connect().await?;
    let filler = "x".repeat(400);
    let map = json!({ "metadata": { "name": "watched" }, "data": { "filler": filler } });
    let made = create(&mut connection, MAPS, &map).await?;
    let since = made["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let watching = watch_all(&target, &since, &heard).await?;
    drop(heard);
    let before = processes::ticks(coordinator.pid()?)?;
    let mut sent = Vec::new();
    let mut pace = tokio::time::interval(INTERVAL);
    for update in 0..UPDATES {
        pace.tick().await;
        sent.push(Instant::now());
        let change = json!({ "data": { "update": format!("#{update}#") } });
        connection.merge(&format!("{MAPS}/watched"), &change).await?.ok()?;
    }
    let mut last: Vec<Option<Instant>> = vec![None; UPDATES];
    let mut missing = UPDATES * WATCHERS;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while missing > 0 {
        let Ok(Some(Heard { update, at })) = tokio::time::timeout_at(deadline, hearing.recv()).await else {
            break;
        };
        last[update] = last[update].max(Some(at));
        missing -= 1;
    }
    let used = (processes::ticks(coordinator.pid()?)? - before) as f64 / 100.0;
    watching.iter().for_each(AbortHandle::abort);
    anyhow::ensure!(missing == 0, "{missing} deliveries are missing");
    let latencies: Vec<f64> =
        last.iter().zip(&sent).filter_map(|(last, sent)| Some(ms((*last)?.duration_since(*sent)))).collect();
    let p99 = percentile(&latencies, 0.99);
    let core = used / (INTERVAL.as_secs_f64() * UPDATES as f64);
    report.add(
        Row::new("update → last of 1,000 watchers, p99", p99, "ms")
            .aim("≤ 100 ms", p99 <= AIM_MS)
            .note(format!("median {:.0} ms; {core:.2} cores at 10 updates/s", median(&latencies))),
    );
    Ok(())
}

async fn watch_all(
    target: &Target,
    since: &str,
    heard: &mpsc::UnboundedSender<Heard>,
) -> anyhow::Result<Vec<AbortHandle>> {
    use futures::{StreamExt as _, TryStreamExt as _};
    let path = format!("{MAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={since}");
    let watchers = (0..WATCHERS).map(|_| async {
        let mut connection = target.connect().await?;
        let head = connection.begin(&request("GET", &path, "", b"")).await?;
        anyhow::ensure!(head.code == 200, "a watch is refused: {}", head.code);
        let heard = heard.clone();
        let watcher = tokio::spawn(async move {
            let mut line = Vec::new();
            while let Ok(Some(())) = connection.chunk(|part| line.extend_from_slice(part)).await {
                for update in numbers(&line) {
                    let _ = heard.send(Heard { update, at: Instant::now() });
                }
                line.clear();
            }
        });
        Ok(watcher.abort_handle())
    });
    futures::stream::iter(watchers).buffer_unordered(CONNECTING).try_collect().await
}

/// The updates that these events are about: `#N#` stands in each. A chunk holds whole events.
fn numbers(events: &[u8]) -> Vec<usize> {
    let marked = events.split(|byte| *byte == b'#').skip(1).step_by(2);
    marked.filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).collect()
}
