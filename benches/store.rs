//! The store alone: what SQLite's group commit makes of this disk, without an API around it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use leasehold::coordinator::state::Key;
use leasehold::store::embedded::Embedded;
use leasehold::store::{Store as _, Write};
use tokio::sync::oneshot;

use crate::stats::ms;

type Submission = (Key, oneshot::Sender<()>);

/// Writes for `duration` with so many writers, each one object of this size, in batches of whatever waits; the
/// latencies in ms.
pub(crate) async fn writes(
    directory: &Path,
    writers: usize,
    size: usize,
    duration: Duration,
) -> anyhow::Result<Vec<f64>> {
    let mut store = Embedded::open(directory, "bench")?;
    let loaded = store.load(&mut |_| Ok(()))?;
    let (queue, submissions) = sync_channel(writers);
    let value = Bytes::from(vec![b'x'; size]);
    let committer = std::thread::spawn(move || commit(&mut store, loaded.revision, &submissions, &value));
    let over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> =
        (0..writers).map(|writer| tokio::spawn(write(writer, queue.clone(), over.clone()))).collect();
    drop(queue);
    tokio::time::sleep(duration).await;
    over.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    tokio::task::spawn_blocking(|| committer.join()).await?.expect("it does not panic")?;
    Ok(latencies)
}

async fn write(
    writer: usize,
    queue: SyncSender<Submission>,
    over: Arc<AtomicBool>,
) -> anyhow::Result<Vec<f64>> {
    let key = Key {
        resource: "coordination.k8s.io/leases".into(),
        namespace: "kube-node-lease".into(),
        name: format!("writer-{writer}").into(),
    };
    let mut latencies = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        let (done, durable) = oneshot::channel();
        queue.try_send((key.clone(), done))?;
        durable.await?;
        latencies.push(ms(start.elapsed()));
    }
    Ok(latencies)
}

fn commit(
    store: &mut Embedded,
    mut revision: u64,
    submissions: &Receiver<Submission>,
    value: &Bytes,
) -> anyhow::Result<()> {
    while let Ok(first) = submissions.recv() {
        let batch: Vec<Submission> = std::iter::once(first).chain(submissions.try_iter()).collect();
        let mut writes = Vec::with_capacity(batch.len());
        for (key, _) in &batch {
            revision += 1;
            writes.push(Write { key: key.clone(), previous: 0, revision, value: Some(value.clone()) });
        }
        store.commit(&writes, revision)?;
        for (_, done) in batch {
            let _ = done.send(());
        }
    }
    Ok(())
}
