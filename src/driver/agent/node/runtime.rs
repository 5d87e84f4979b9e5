//! What containerd says.

use std::collections::BTreeSet;

use crate::agent::pod::{self, ContainerRef, Exit, ObservedContainer, ObservedState};
use crate::containerd::{Exited, Listed, RuntimeEvent, State};

use super::{Input, NodeLoop, label};
use crate::driver::agent::perform;

/// Stands for an exit code that is no number of 32 bits, which no process has.
const UNKNOWN_CODE: i32 = 137;

impl NodeLoop {
    pub(super) fn hear_runtime(&mut self, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Connected => self.list_containers(),
            RuntimeEvent::Disconnected { why } => {
                tracing::warn!(
                    why,
                    "containerd cannot be reached; what runs goes on, and nothing new starts"
                );
                self.runtime_up = false;
                self.unclaimed.clear();
                self.hands.registrar.describe(|description| description.runtime = Err(why));
                for uid in self.hosted.keys().cloned().collect::<Vec<_>>() {
                    self.feed(&uid, pod::Input::RuntimeDown);
                }
            }
            // The Node's list of images is kept elsewhere.
            RuntimeEvent::ImagesChanged => {}
            RuntimeEvent::Exited(exited) => self.hear_exit(&exited),
            RuntimeEvent::Oom { id } => {
                self.oom.insert(id);
            }
        }
    }

    /// Lists the containers in a task of its own; the answer is [`Input::Containers`].
    fn list_containers(&self) {
        let (hands, inputs) = (self.hands.clone(), self.inputs.clone());
        tokio::spawn(async move {
            // A list taken while containers are made or removed would say of them what is not so any more.
            hands.container_tasks.close();
            hands.container_tasks.wait().await;
            hands.container_tasks.reopen();
            match hands.runtime.list().await {
                Ok(listed) => {
                    let _ = inputs.send(Input::Containers(listed)).await;
                }
                // The connection broke again; its return brings the next list.
                Err(error) => tracing::warn!(%error, "containers could not be listed"),
            }
        });
    }

    pub(super) fn hear_containers(&mut self, listed: Vec<Listed>) {
        self.runtime_up = true;
        for container in &listed {
            if matches!(container.state, State::Running { .. }) {
                self.hands.open_logs.opened(&container.id);
            }
            if let Some((uid, run)) = named(container) {
                self.runs.insert(container.id.clone(), (uid, run));
            }
        }
        for container in &listed {
            self.find_earlier(container);
        }
        self.unclaimed = listed;
        for uid in self.hosted.keys().cloned().collect::<Vec<_>>() {
            let observed = self.take_observed(&uid);
            self.feed(&uid, pod::Input::Observed(observed));
        }
        self.remove_strays();
    }

    /// A container of a Pod that is not here any more keeps its name's identity from starting.
    fn find_earlier(&self, container: &Listed) {
        let text = |key: &str| container.labels.get(key).map(String::as_str);
        let (Some(uid), Some(name), Some(namespace)) =
            (text(label::POD_UID), text(label::POD_NAME), text(label::POD_NAMESPACE))
        else {
            return;
        };
        if !self.strays_removed && !self.hosted.contains_key(uid) && !self.waiting_for_list.contains_key(uid)
        {
            self.hands.fencing.found(namespace, name, uid);
        }
    }

    /// The Pod's containers as the newest list has them; from then on its machine knows them.
    pub(super) fn take_observed(&mut self, uid: &str) -> Vec<ObservedContainer> {
        let (own, others) = std::mem::take(&mut self.unclaimed)
            .into_iter()
            .partition(|container| container.labels.get(label::POD_UID).is_some_and(|owner| owner == uid));
        self.unclaimed = others;
        let own: Vec<Listed> = own;
        own.iter().filter_map(|container| observed(container, uid)).collect()
    }

    fn hear_exit(&mut self, exited: &Exited) {
        if exited.exec_id.is_some() {
            return self.hands.execs.exited(exited);
        }
        let Some((uid, run)) = self.runs.get(&exited.id).cloned() else { return };
        let oom_killed = self.oom.remove(&exited.id) && exited.code == 137;
        let Some(hosted) = self.hosted.get(&uid) else { return };
        let (hands, inputs, pod) = (self.hands.clone(), self.inputs.clone(), hosted.pod.clone());
        let (code, finished_at) = (i32::try_from(exited.code).unwrap_or(UNKNOWN_CODE), exited.at);
        for listed in self.unclaimed.iter_mut().filter(|listed| listed.id == exited.id) {
            listed.state = State::Exited { code: exited.code, at: exited.at };
        }
        tokio::spawn(async move {
            let exit = Exit { code, finished_at, oom_killed, message: String::new() };
            let exit = perform::exit(&hands, &pod, &run, exit).await;
            let input = pod::Input::ContainerExited { run, exit };
            let _ = inputs.send(Input::Answer { uid, input }).await;
        });
    }

    /// Removes what belongs to no Pod of this node, once it is known which Pods there are.
    pub(super) fn remove_strays(&mut self) {
        if !self.runtime_up || !self.pods_list.whole || self.strays_removed {
            return;
        }
        self.strays_removed = true;
        let known: BTreeSet<String> =
            self.hosted.keys().chain(self.waiting_for_list.keys()).cloned().collect();
        let strays: Vec<perform::Stray> = std::mem::take(&mut self.unclaimed)
            .into_iter()
            .filter(|container| !container.labels.get(label::POD_UID).is_some_and(|uid| known.contains(uid)))
            .map(|container| (container.id, container.labels.get(label::POD_UID).cloned()))
            .collect();
        let hands = self.hands.clone();
        tokio::spawn(async move { perform::remove_strays(&hands, strays, known).await });
    }
}

/// Which run of which Pod a container is.
fn named(container: &Listed) -> Option<(String, ContainerRef)> {
    let text = |key: &str| container.labels.get(key);
    let run = ContainerRef {
        name: text(label::CONTAINER_NAME)?.clone(),
        attempt: text(label::ATTEMPT)?.parse().ok()?,
    };
    Some((text(label::POD_UID)?.clone(), run))
}

fn observed(container: &Listed, uid: &str) -> Option<ObservedContainer> {
    let (owner, run) = named(container)?;
    let text = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
    let started_at = container.started_at;
    let state = match &container.state {
        State::Created => ObservedState::Created,
        State::Running { pid } => ObservedState::Running {
            pid: *pid,
            started_at: started_at.unwrap_or_else(crate::driver::clock::wall),
        },
        State::Exited { code, at } => ObservedState::Exited {
            started_at,
            exit: Exit {
                code: i32::try_from(*code).unwrap_or(UNKNOWN_CODE),
                finished_at: *at,
                oom_killed: false,
                message: String::new(),
            },
        },
        State::Lost => ObservedState::Lost { started_at },
    };
    (owner == uid).then(|| ObservedContainer {
        run,
        id: container.id.clone(),
        image: text(label::IMAGE),
        image_id: text(label::IMAGE_ID),
        state,
    })
}
