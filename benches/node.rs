//! One node: what the agent and the coordinator add to the time in which containerd starts and stops a container.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::Settings;
use crate::bed::{Bed, IMAGE, PROGRAM};
use crate::floor::Floor;
use crate::http::{Connection, Target};
use crate::report::{Report, Row};
use crate::stats::{median, ms, paired_ratio, percentile};

const ROUNDS: usize = 15;
const BURSTS: usize = 3;
pub(crate) const PODS: usize = 50;
/// Connections over which the Pods of a burst are made.
const MAKERS: usize = 8;
/// What was started may write its statuses before the next thing is measured.
const SETTLE: Duration = Duration::from_millis(400);

const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
pub(crate) const PODS_PATH: &str = "/api/v1/namespaces/default/pods";
const NODE: &str = "/api/v1/nodes/n1";

/// Times in ms, round by round.
#[derive(Default)]
struct Times {
    created: Vec<f64>,
    labelled: Vec<f64>,
    restarted: Vec<f64>,
    unlabelled: Vec<f64>,
    bare_start: Vec<f64>,
    bare_stop: Vec<f64>,
}

pub(crate) async fn pods(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let mut bed = Bed::up(settings).await?;
    let floor = Floor::new(&bed).await?;
    let mut connection = bed.admin()?.connect().await?;
    let selecting = daemon_set("selecting", &json!({ "bench": "yes" }));
    connection.post(SETS, &selecting).await?.ok()?;
    let mut times = Times::default();
    for round in 0..=ROUNDS {
        let mut these = Times::default();
        measure_round(&mut bed, &floor, &mut connection, round, &mut these).await?;
        // The first round warms up.
        if round > 0 {
            times.append(these);
        }
    }
    times.report(report);
    Ok(())
}

async fn measure_round(
    bed: &mut Bed,
    floor: &Floor,
    connection: &mut Connection,
    round: usize,
    times: &mut Times,
) -> anyhow::Result<()> {
    let id = floor.prepare(&format!("bare-{round}"))?;
    let start = Instant::now();
    floor.start(&id).await?;
    times.bare_start.push(ms(bed.started().await?.at - start));
    tokio::time::sleep(SETTLE).await;
    let start = Instant::now();
    floor.stop(&id).await?;
    times.bare_stop.push(ms(bed.exited().await?.at - start));
    floor.remove(&id).await?;

    let start = Instant::now();
    connection.post(SETS, &daemon_set("created", &json!({}))).await?.ok()?;
    times.created.push(ms(bed.started().await?.at - start));
    tokio::time::sleep(SETTLE).await;
    connection.delete(&format!("{SETS}/created")).await?.ok()?;
    bed.exited().await?;
    no_pods(connection).await?;

    let label = |value: Value| json!({ "metadata": { "labels": { "bench": value } } });
    let start = Instant::now();
    connection.merge(NODE, &label("yes".into())).await?.ok()?;
    let first = bed.started().await?;
    times.labelled.push(ms(first.at - start));
    tokio::time::sleep(SETTLE).await;

    kill(Pid::from_raw(first.pid as i32), Signal::SIGKILL)?;
    let exit = bed.exited().await?;
    times.restarted.push(ms(bed.started().await?.at - exit.at));
    tokio::time::sleep(SETTLE).await;

    let start = Instant::now();
    connection.merge(NODE, &label(Value::Null)).await?.ok()?;
    times.unlabelled.push(ms(bed.exited().await?.at - start));
    no_pods(connection).await
}

impl Times {
    fn append(&mut self, mut other: Self) {
        for (all, new) in [
            (&mut self.created, &mut other.created),
            (&mut self.labelled, &mut other.labelled),
            (&mut self.restarted, &mut other.restarted),
            (&mut self.unlabelled, &mut other.unlabelled),
            (&mut self.bare_start, &mut other.bare_start),
            (&mut self.bare_stop, &mut other.bare_stop),
        ] {
            all.append(new);
        }
    }

    fn report(&self, report: &mut Report) {
        let start = ("bare start", &self.bare_start);
        let stop = ("bare SIGTERM → exit", &self.bare_stop);
        for (what, times, (name, floor)) in [
            ("DaemonSet create → process running", &self.created, start),
            ("node label set → process running", &self.labelled, start),
            ("exit → process running again", &self.restarted, start),
            ("node label removed → process ended", &self.unlabelled, stop),
        ] {
            let (value, base, ratio) = (median(times), median(floor), paired_ratio(times, floor));
            let row = Row::new(what, value, "ms").floor(name, base, ratio).note(format!(
                "p90 {:.0} ms, floor's {:.0} ms",
                percentile(times, 0.9),
                percentile(floor, 0.9)
            ));
            let aimed = name == "bare start";
            let over: Vec<f64> = times.iter().zip(floor).map(|(time, floor)| time - 1.2 * floor).collect();
            report.add(if aimed { row.aim("≤ 1.2 × floor + 20 ms", median(&over) <= 20.0) } else { row });
        }
    }
}

/// Fifty Pods at once.
pub(crate) async fn burst(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let mut bed = Bed::up(settings).await?;
    let floor = Floor::new(&bed).await?;
    let target = bed.admin()?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=BURSTS {
        eprintln!("    round {round} of {BURSTS}");
        let ids: Vec<_> =
            (0..PODS).map(|n| floor.prepare(&format!("burst-{round}-{n}"))).collect::<Result<_, _>>()?;
        let start = Instant::now();
        try_join_all(ids.iter().map(|id| floor.start(id))).await?;
        bare.push(ms(bed.all_started(PODS).await? - start));
        try_join_all(ids.iter().map(|id| floor.remove(id))).await?;
        bed.forget_events();

        let start = Instant::now();
        make_pods(&target).await?;
        ours.push(ms(bed.all_started(PODS).await? - start));
        tokio::time::sleep(SETTLE).await;
        remove_pods(&target).await?;
        bed.forget_events();
    }
    report.add(Row::new("50 Pods at once → all running", median(&ours), "ms").floor(
        "50 bare starts at once",
        median(&bare),
        paired_ratio(&ours, &bare),
    ));
    Ok(())
}

/// Makes the Pods of a burst, bound to the node.
pub(crate) async fn make_pods(target: &Target) -> anyhow::Result<()> {
    try_join_all((0..MAKERS).map(|maker| async move {
        let mut connection = target.connect().await?;
        for number in (maker..PODS).step_by(MAKERS) {
            let mut pod = template();
            pod["metadata"] = json!({ "name": format!("burst-{number}") });
            pod["spec"]["nodeName"] = "n1".into();
            connection.post(PODS_PATH, &pod).await?.ok()?;
        }
        anyhow::Ok(())
    }))
    .await
    .map(drop)
}

/// Removes them and waits until they are gone.
pub(crate) async fn remove_pods(target: &Target) -> anyhow::Result<()> {
    let mut connection = target.connect().await?;
    connection.delete(PODS_PATH).await?.ok()?;
    no_pods(&mut connection).await
}

/// Waits until there are no Pods.
async fn no_pods(connection: &mut Connection) -> anyhow::Result<()> {
    for _ in 0..1200 {
        let list = connection.get(PODS_PATH).await?.ok()?.json();
        if list["items"].as_array().context("no list")?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("Pods are left after a minute")
}

/// A Pod without a name.
fn template() -> Value {
    json!({
        "metadata": { "labels": { "app": "bench" } },
        "spec": {
            "hostNetwork": true, "terminationGracePeriodSeconds": 5,
            "containers": [{ "name": "main", "image": IMAGE, "command": PROGRAM }],
        },
    })
}

fn daemon_set(name: &str, selector: &Value) -> Value {
    let mut template = template();
    template["metadata"]["labels"]["app"] = name.into();
    template["spec"]["nodeSelector"] = selector.clone();
    json!({
        "metadata": { "name": name },
        "spec": { "selector": { "matchLabels": { "app": name } }, "template": template },
    })
}
