//! Keeps the Node object in line with the node, whenever something about it changes.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{Notify, mpsc, watch};

use super::node::Input;
use super::registration::{self, Description};
use crate::driver::clock;
use crate::time::Instant;

/// Pause between attempts to register.
const RETRY: Duration = Duration::from_secs(1);

/// Changes within this time are written together.
const GATHER: Duration = Duration::from_millis(50);

/// How the Node came to be registered in this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registered {
    /// When the request left that made the Node, if there was none before.
    pub(super) made: Option<Instant>,
}

/// A handle on the Node's description.
#[derive(Clone, Debug)]
pub(super) struct Registrar {
    description: watch::Sender<Description>,
    again: Arc<Notify>,
    registered: watch::Receiver<Option<Registered>>,
}

impl Registrar {
    /// Starts to register the node, and to keep it registered.
    pub(super) fn start(client: Client, description: Description, inputs: mpsc::Sender<Input>) -> Self {
        let (description, changes) = watch::channel(description);
        let (done, registered) = watch::channel(None);
        let again = Arc::new(Notify::new());
        tokio::spawn(keep(client, changes, again.clone(), inputs, done));
        Self { description, again, registered }
    }

    /// Changes what the Node says; written only when it differs.
    pub(super) fn describe(&self, change: impl FnOnce(&mut Description)) {
        self.description.send_if_modified(|description| {
            let before = description.clone();
            change(description);
            *description != before
        });
    }

    /// What the Node is to say.
    pub(super) fn description(&self) -> Description {
        self.description.borrow().clone()
    }

    /// Registers again, though nothing about the node changed.
    pub(super) fn again(&self) {
        self.again.notify_one();
    }

    /// How the Node came to be registered, once it is.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Registered>> {
        self.registered.clone()
    }

    /// Waits until the Node has been registered once.
    pub(super) async fn registered(&self) {
        // Only the task's end closes the channel, and then nobody waits any more.
        let _ = self.registered.clone().wait_for(Option::is_some).await;
    }
}

async fn keep(
    client: Client,
    mut changes: watch::Receiver<Description>,
    again: Arc<Notify>,
    inputs: mpsc::Sender<Input>,
    done: watch::Sender<Option<Registered>>,
) {
    loop {
        let description = changes.borrow_and_update().clone();
        let sent = clock::now();
        match registration::register(&client, &description, clock::wall()).await {
            Ok((node, was_made)) => {
                let made = was_made.then_some(sent);
                done.send_modify(|registered| *registered = registered.or(Some(Registered { made })));
                if inputs.send(Input::Registered(Box::new(node))).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the Node is not registered yet");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = again.notified() => {}
        }
        tokio::time::sleep(GATHER).await;
    }
}
