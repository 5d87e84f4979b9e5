//! A list of ten thousand Pods: how long, how much, and what it costs the coordinator in memory.

use std::time::Instant;

use serde_json::{Value, json};

use crate::Settings;
use crate::endpoint::{Coordinator, create_all};
use crate::http::{Target, request};
use crate::processes::{self, MIB};
use crate::report::{Report, Row};
use crate::stats::{median, ms};

const PODS: usize = 10_000;
const ROUNDS: usize = 5;
/// Aim: the list is streamed, so that it takes no more than this part of its size beyond what is there anyhow.
const GROWTH_AIM: f64 = 0.25;

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let coordinator = Coordinator::start(&settings.program)?;
    let target = coordinator.admin()?;
    eprintln!("    making {PODS} Pods");
    let start = Instant::now();
    create_all(&target, "/api/v1/namespaces/default/pods", (0..PODS).map(pod).collect()).await?;
    report.add(Row::new("Pods created/s, 32 clients", PODS as f64 / start.elapsed().as_secs_f64(), "/s"));
    let pid = coordinator.pid()?;
    report.add(Row::new("coordinator with 10,000 Pods, PSS", processes::pss(pid)?, "MiB"));
    let (mut times, mut first, mut grown, mut size) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        processes::forget_peak(pid)?;
        let before = processes::rss(pid)?;
        let listed = list(&target).await?;
        anyhow::ensure!(listed.items == PODS, "the list holds {} Pods", listed.items);
        times.push(listed.whole_ms);
        first.push(listed.first_ms);
        grown.push(processes::peak(pid)? - before);
        size = listed.bytes;
    }
    let size = size as f64 / MIB;
    report.add(
        Row::new("list of 10,000 Pods", median(&times), "ms")
            .note(format!("{size:.1} MiB; first bytes after {:.1} ms", median(&first))),
    );
    let growth = median(&grown);
    report.add(
        Row::new("… memory it takes at its peak", growth, "MiB")
            .floor("the list itself", size, growth / size)
            .aim("≤ 0.25 × the list", growth <= GROWTH_AIM * size),
    );
    Ok(())
}

struct Listed {
    bytes: usize,
    items: usize,
    first_ms: f64,
    whole_ms: f64,
}

async fn list(target: &Target) -> anyhow::Result<Listed> {
    let mut connection = target.connect().await?;
    let start = Instant::now();
    let head = connection.begin(&request("GET", "/api/v1/pods", "", b"")).await?;
    anyhow::ensure!(head.code == 200, "HTTP {}", head.code);
    let first_ms = ms(start.elapsed());
    let (mut bytes, mut items) = (0, 0);
    let mut take = |part: &[u8]| {
        bytes += part.len();
        items += part.split(|byte| *byte == MARK).count() - 1;
    };
    while let Some(()) = connection.chunk(&mut take).await? {}
    Ok(Listed { bytes, items, first_ms, whole_ms: ms(start.elapsed()) })
}

/// Stands once in every Pod, and nowhere else.
const MARK: u8 = b'~';

fn pod(number: usize) -> Value {
    let probe = json!({ "httpGet": { "path": "/healthz", "port": 8080 }, "periodSeconds": 10 });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("web-{number:05}"),
            "labels": { "app": "web", "shard": (number % 50).to_string() },
            "annotations": { "example.com/mark": "~", "example.com/config": "0123456789abcdef".repeat(8) },
        },
        "spec": {
            "nodeName": format!("node-{:04}", number % 1000),
            "containers": [{
                "name": "web", "image": "registry.example.com/team/web:1.2.3", "livenessProbe": probe,
                "args": ["--listen=:8080", "--log=json"],
                "env": [
                    { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                    { "name": "REGION", "value": "north" },
                ],
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
                "ports": [{ "containerPort": 8080, "name": "http" }],
                "volumeMounts": [{ "name": "config", "mountPath": "/etc/web", "readOnly": true }],
            }],
            "volumes": [{ "name": "config", "configMap": { "name": "web" } }],
        },
    })
}
