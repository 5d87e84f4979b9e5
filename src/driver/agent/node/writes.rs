//! What the coordinator is told about the Pods: one write at a time per Pod, the newest status wins.

use k8s_openapi::api::core::v1::Pod;

use super::{Input, NodeLoop};
use crate::agent::pod;
use crate::driver::agent::hosted::{Remote, Write, runtime_uid};
use crate::driver::agent::mirror::{self, Outcome};
use crate::driver::clock;

/// How long a write that the coordinator could not take waits.
const WRITE_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

impl NodeLoop {
    pub(super) fn write_next(&mut self, uid: &str) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        let Some(write) = hosted.next_write() else { return };
        let (pod, remote) = (hosted.pod.clone(), hosted.remote.clone());
        let (client, inputs, uid) = (self.hands.client.clone(), self.inputs.clone(), uid.to_owned());
        tokio::spawn(async move {
            let outcome = mirror::write(client, &pod, &remote, write).await;
            let _ = inputs.send(Input::Written { uid, outcome }).await;
        });
    }

    pub(super) fn written(&mut self, uid: &str, outcome: Outcome) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        let Some(write) = hosted.writing.take() else { return };
        match outcome {
            Outcome::Done(object) => self.write_done(uid, &write, object),
            Outcome::Taken => self.name_taken(uid),
            Outcome::Absent if write == Write::Remove => {
                hosted.remote = Remote::Gone;
                self.forget_if_done(uid);
            }
            Outcome::Absent => self.check_absence(vec![uid.to_owned()], Vec::new()),
            Outcome::Refused(message) => self.refused(uid, &write, &message),
            Outcome::Later(message) => {
                tracing::debug!(uid, message, "a write waits for the coordinator");
                match write {
                    Write::Status(status) => {
                        hosted.status_due.get_or_insert(status);
                    }
                    Write::Owners => hosted.owners_due = true,
                    Write::Delete => hosted.delete_due = true,
                    Write::Create | Write::Remove => {}
                }
                self.retries.set(uid, Some(clock::now() + WRITE_RETRY));
                return;
            }
        }
        self.write_next(uid);
    }

    fn write_done(&mut self, uid: &str, write: &Write, object: Option<Box<Pod>>) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        match write {
            Write::Create => {
                if let Some(made) = object {
                    self.mirrored(uid, &made);
                }
            }
            Write::Remove => {
                hosted.remote = Remote::Gone;
                self.forget_if_done(uid);
            }
            Write::Status(_) | Write::Owners | Write::Delete => {}
        }
    }

    /// The coordinator has the object of a Pod that this node made.
    pub(super) fn mirrored(&mut self, uid: &str, object: &Pod) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        let remote = object.metadata.uid.clone().unwrap_or_default();
        hosted.remote = Remote::Known { uid: remote.clone() };
        self.hands.tokens.bind(uid, &remote);
        self.hands.sources.mirrored(uid);
        self.by_remote.insert(remote, uid.to_owned());
        let changed = hosted.merge(object);
        self.keep(uid);
        self.tell_events(uid);
        if let Some(pod) = changed {
            self.feed(uid, pod::Input::PodChanged(pod));
        }
    }

    /// Another object stands under the Pod's name: ours from an earlier try, or a stranger that wins.
    fn name_taken(&mut self, uid: &str) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        hosted.writing = Some(Write::Create);
        let (client, inputs, uid, pod) =
            (self.hands.client.clone(), self.inputs.clone(), uid.to_owned(), hosted.pod.clone());
        tokio::spawn(async move {
            let outcome = match mirror::read(client, &pod).await {
                Outcome::Done(Some(found)) if runtime_uid(&found) == uid => Outcome::Done(Some(found)),
                Outcome::Done(_) => Outcome::Refused("another Pod has this name".into()),
                other @ (Outcome::Taken | Outcome::Absent | Outcome::Refused(_) | Outcome::Later(_)) => other,
            };
            let _ = inputs.send(Input::Written { uid, outcome }).await;
        });
    }

    fn refused(&mut self, uid: &str, write: &Write, message: &str) {
        tracing::warn!(uid, message, ?write, "the coordinator refused a write");
        if *write == Write::Create {
            if let Some(hosted) = self.hosted.get_mut(uid) {
                hosted.remote = Remote::Gone;
            }
            self.daemon_sets.create_refused(uid, message, clock::now());
            self.feed(uid, pod::Input::PodGone);
        }
    }
}
