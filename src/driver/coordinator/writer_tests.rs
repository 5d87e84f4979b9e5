use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::api::kinds::{self, Kind};
use crate::coordinator::state::State;
use crate::coordinator::{Action, Body, INITIAL_NAMESPACES, Subresource};
use crate::store::{Entry, Loaded, OpenError, Store, Write};

/// A disk whose next sync ends as the test says. What it was given is counted.
struct Disk {
    outcomes: Receiver<bool>,
    batches: Arc<AtomicUsize>,
}

impl Store for Disk {
    fn load(&mut self, _: &mut dyn FnMut(Entry) -> Result<(), String>) -> Result<Loaded, OpenError> {
        Ok(Loaded { cluster_uid: "u".into(), revision: 1 })
    }

    fn commit(&mut self, _: &[Write], _: u64) -> Result<(), CommitError> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        match self.outcomes.recv() {
            Ok(true) => Ok(()),
            _ => Err(CommitError::NoSpace { path: "disk".into() }),
        }
    }
}

struct Bed {
    commands: Commands,
    view: Arc<View>,
    sync: std::sync::mpsc::Sender<bool>,
    batches: Arc<AtomicUsize>,
    writer: thread::JoinHandle<()>,
}

impl Bed {
    fn new() -> Self {
        let (sync, outcomes) = channel();
        let batches = Arc::new(AtomicUsize::new(0));
        let view = Arc::new(View::new(State { revision: 1, ..State::default() }));
        let expiry = Arc::new(Mutex::new(Expiry::default()));
        let (commands, queue) = Commands::new();
        let keeper = Keeper {
            view: view.clone(),
            store: Box::new(Disk { outcomes, batches: batches.clone() }),
            expiry: expiry.clone(),
            works: Arc::new(AtomicBool::new(true)),
        };
        let mut writer = Writer::new(view.clone(), keeper, (commands.clone(), queue), expiry);
        for name in INITIAL_NAMESPACES {
            sync.send(true).unwrap();
            let body = json!({ "metadata": { "name": name } });
            let command = Command::new(kind("Namespace"), "", Action::Create { body });
            writer.commit(&[&command], &mut SystemEntropy).unwrap().remove(0).unwrap();
        }
        let writer = thread::spawn(move || writer.run());
        Self { commands, view, sync, batches, writer }
    }

    fn submit(&self, action: Action) -> tokio::task::JoinHandle<Result<Reply, Status>> {
        let (commands, command) = (self.commands.clone(), Command::new(kind("ConfigMap"), "default", action));
        tokio::spawn(async move { commands.submit(command).await })
    }

    /// Waits until the disk has been given so many batches more.
    async fn disk_works_on(&self, batch: usize) {
        while self.batches.load(Ordering::SeqCst) < INITIAL_NAMESPACES.len() + batch {
            tokio::task::yield_now().await;
        }
    }

    fn end(self) {
        self.commands.stop();
        drop(self.sync);
        self.writer.join().unwrap();
    }
}

fn kind(name: &str) -> &'static Kind {
    kinds::by_kind("", "v1", name).unwrap()
}

fn create(name: &str) -> Action {
    Action::Create { body: json!({ "metadata": { "name": name } }) }
}

fn update(name: &str, value: &str) -> Action {
    let body = json!({ "metadata": { "name": name }, "data": { "key": value } });
    Action::Update { name: name.into(), subresource: Subresource::Main, body }
}

fn revision(reply: Result<Reply, Status>) -> u64 {
    match reply.unwrap().body {
        Body::Object(object) => object.resource_version,
        Body::Status(status) => panic!("{status:?}"),
    }
}

#[tokio::test]
async fn writes_that_come_while_the_disk_works_share_the_next_batch_and_see_what_is_before_them() {
    let bed = Bed::new();
    let first = bed.submit(create("a"));
    bed.disk_works_on(1).await;
    assert!(bed.view.get(kind("ConfigMap"), "default", "a").is_none(), "shown before it is durable");
    let over = [bed.submit(update("a", "1")), bed.submit(create("b")), bed.submit(create("a"))];
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished() && over.iter().all(|write| !write.is_finished()), "answered too early");
    bed.sync.send(true).unwrap();
    let made = revision(first.await.unwrap());
    bed.disk_works_on(2).await;
    bed.sync.send(true).unwrap();
    let [updated, other, again] = over;
    assert_eq!(revision(updated.await.unwrap()), made + 1);
    assert_eq!(revision(other.await.unwrap()), made + 2);
    assert_eq!(again.await.unwrap().unwrap_err().reason, "AlreadyExists");
    assert_eq!(bed.view.revision(), made + 2);
    bed.end();
}

#[tokio::test]
async fn what_was_decided_over_a_batch_that_is_lost_is_decided_again() {
    let bed = Bed::new();
    let lost = bed.submit(create("a"));
    bed.disk_works_on(1).await;
    let over = [bed.submit(update("a", "1")), bed.submit(create("b"))];
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let before = bed.view.revision();
    bed.sync.send(false).unwrap();
    assert_eq!(lost.await.unwrap().unwrap_err().code, 507);
    bed.disk_works_on(2).await;
    bed.sync.send(true).unwrap();
    let [updated, other] = over;
    assert_eq!(updated.await.unwrap().unwrap_err().reason, "NotFound");
    assert_eq!(revision(other.await.unwrap()), before + 1);
    assert!(bed.view.get(kind("ConfigMap"), "default", "a").is_none());
    bed.end();
}
