//! The phase that follows from the containers' statuses, as the kubelet's.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

use super::super::spec::{self, Role};

/// `Pending`.
pub(crate) const PENDING: &str = "Pending";
/// `Running`.
pub(crate) const RUNNING: &str = "Running";
/// `Succeeded`.
pub(crate) const SUCCEEDED: &str = "Succeeded";
/// `Failed`.
pub(crate) const FAILED: &str = "Failed";

/// Whether a phase is never left.
pub(crate) fn is_terminal(phase: &str) -> bool {
    phase == SUCCEEDED || phase == FAILED
}

/// What is known beside the containers' statuses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Circumstances {
    /// The Pod is ending and none of its containers can run any more.
    pub(crate) at_rest: bool,
    /// A main container has been made in this sandbox.
    pub(crate) initialized: bool,
}

/// What a container does, as far as the phase cares. Exit codes are of the newest end.
enum Stage {
    Unknown,
    Waiting,
    Running { started: bool },
    Terminated(i32),
    WaitingAgain(i32),
}

fn stage(statuses: &[ContainerStatus], name: &str) -> Stage {
    let Some(status) = statuses.iter().find(|status| status.name == name) else { return Stage::Unknown };
    let state = status.state.clone().unwrap_or_default();
    let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    if state.running.is_some() {
        return Stage::Running { started: status.started.unwrap_or(false) };
    }
    match (state.terminated, state.waiting.is_some(), last) {
        (Some(end), _, _) => Stage::Terminated(end.exit_code),
        (None, true, Some(end)) => Stage::WaitingAgain(end.exit_code),
        (None, true, None) => Stage::Waiting,
        (None, false, _) => Stage::Unknown,
    }
}

/// How many containers are where.
#[derive(Debug, Default)]
struct Tally {
    pending_inits: u32,
    pending_sidecars: u32,
    failed_inits: u32,
    unknown: u32,
    running: u32,
    waiting: u32,
    stopped: u32,
    stopped_for_good: u32,
    succeeded: u32,
}

impl Tally {
    fn add_init(&mut self, stage: &Stage, restarts: impl Fn(i32) -> bool) {
        match stage {
            Stage::Terminated(0) | Stage::WaitingAgain(0) => {}
            Stage::Terminated(code) | Stage::WaitingAgain(code) => {
                self.failed_inits += u32::from(!restarts(*code));
            }
            Stage::Unknown | Stage::Waiting | Stage::Running { .. } => self.pending_inits += 1,
        }
    }

    fn add_sidecar(&mut self, stage: &Stage) {
        match stage {
            Stage::Running { started } => {
                self.running += 1;
                self.pending_sidecars += u32::from(!started);
            }
            Stage::Waiting => {
                self.waiting += 1;
                self.pending_sidecars += 1;
            }
            Stage::Unknown => self.unknown += 1,
            Stage::Terminated(_) | Stage::WaitingAgain(_) => {}
        }
    }

    fn add_main(&mut self, stage: &Stage, restarts: impl Fn(i32) -> bool) {
        match stage {
            Stage::Running { .. } => self.running += 1,
            Stage::Waiting => self.waiting += 1,
            Stage::Unknown => self.unknown += 1,
            Stage::Terminated(code) | Stage::WaitingAgain(code) => {
                self.stopped += 1;
                self.stopped_for_good += u32::from(!restarts(*code));
                self.succeeded += u32::from(*code == 0 && matches!(stage, Stage::Terminated(_)));
            }
        }
    }

    fn phase(&self, circumstances: Circumstances) -> &'static str {
        let initializing =
            self.pending_inits > 0 || (self.pending_sidecars > 0 && !circumstances.initialized);
        if self.failed_inits > 0 {
            FAILED
        } else if initializing || self.waiting > 0 || self.unknown > 0 {
            PENDING
        } else if self.running > 0 {
            RUNNING
        } else if self.stopped == 0 {
            PENDING
        } else if !circumstances.at_rest && self.stopped != self.stopped_for_good {
            RUNNING
        } else if self.stopped == self.succeeded {
            SUCCEEDED
        } else {
            FAILED
        }
    }
}

/// The phase of a Pod whose containers have these statuses.
pub(crate) fn phase(pod: &Pod, statuses: &[ContainerStatus], circumstances: Circumstances) -> &'static str {
    let mut tally = Tally::default();
    for (role, container) in spec::containers(pod) {
        add(&mut tally, pod, role, container, &stage(statuses, &container.name));
    }
    tally.phase(circumstances)
}

fn add(tally: &mut Tally, pod: &Pod, role: Role, container: &Container, stage: &Stage) {
    let restarts = |code| spec::restarts(pod, role, container, code);
    match role {
        Role::Init => tally.add_init(stage, restarts),
        Role::Sidecar => tally.add_sidecar(stage),
        Role::Main => tally.add_main(stage, restarts),
        Role::Ephemeral => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Statuses in short: `i1:done m1:run`; a bare name has no status.
    fn statuses(text: &str) -> Vec<ContainerStatus> {
        let read = |word: &str| {
            let (name, stage) = word.split_once(':')?;
            let (now, last) = stage.split_once('<').unwrap_or((stage, ""));
            let terminated = |code: &str| match code {
                "done" => json!({"terminated": {"exitCode": 0}}),
                _ => json!({"terminated": {"exitCode": 1}}),
            };
            let state = match now {
                "run" | "unstarted" => json!({"running": {}}),
                "wait" => json!({"waiting": {}}),
                "none" => json!({}),
                end => terminated(end),
            };
            let last = if last.is_empty() { Value::Null } else { terminated(last) };
            Some(
                json!({"name": name, "state": state, "lastState": last, "started": now == "run", "ready": false,
                "image": "", "imageID": "", "restartCount": 0}),
            )
        };
        text.split_whitespace()
            .filter_map(read)
            .map(|status| serde_json::from_value(status).expect("a status"))
            .collect()
    }

    /// A Pod with these containers: `i…` init, `s…` sidecar, `m…` main.
    fn pod(names: &str, policy: &str) -> Pod {
        let (mut inits, mut mains) = (Vec::new(), Vec::new());
        for name in names.split_whitespace() {
            match &name[..1] {
                "i" => inits.push(json!({"name": name})),
                "s" => inits.push(json!({"name": name, "restartPolicy": "Always"})),
                _ => mains.push(json!({"name": name})),
            }
        }
        let spec = json!({"restartPolicy": policy, "initContainers": inits, "containers": mains});
        serde_json::from_value(json!({"spec": spec})).expect("a Pod")
    }

    #[test]
    fn the_phase_follows_from_the_containers_as_upstream() {
        let live = Circumstances::default();
        let rest = Circumstances { at_rest: true, initialized: true };
        let initialized = Circumstances { at_rest: false, initialized: true };
        #[rustfmt::skip]
        let cases = [
            // restartPolicy Always
            ("a b", "Always", "", live, PENDING),
            ("a b", "Always", "a:run b:run", live, RUNNING),
            ("a b", "Always", "a:done b:done", live, RUNNING),
            ("a b", "Always", "a:fail b:fail", live, RUNNING),
            ("a b", "Always", "a:run b:done", live, RUNNING),
            ("a b", "Always", "a:run b:wait", live, PENDING),
            ("a b", "Always", "a:run", live, PENDING),
            ("a b", "Always", "a:run b:wait<done", live, RUNNING),
            ("a b", "Always", "a:wait<fail b:wait<fail", live, RUNNING),
            ("a b", "Always", "a:done b:done", rest, SUCCEEDED),
            ("a b", "Always", "a:fail b:done", rest, FAILED),
            // restartPolicy Never
            ("a b", "Never", "a:done b:done", live, SUCCEEDED),
            ("a b", "Never", "a:fail b:fail", live, FAILED),
            ("a b", "Never", "a:fail b:done", live, FAILED),
            ("a b", "Never", "a:run b:fail", live, RUNNING),
            ("a b", "Never", "a:run b:wait", live, PENDING),
            // restartPolicy OnFailure
            ("a b", "OnFailure", "a:done b:done", live, SUCCEEDED),
            ("a b", "OnFailure", "a:fail b:fail", live, RUNNING),
            ("a b", "OnFailure", "a:done b:fail", live, RUNNING),
            ("a b", "OnFailure", "a:done b:wait<fail", live, RUNNING),
            ("a b", "OnFailure", "a:done b:wait<fail", rest, FAILED),
            // init containers
            ("i1 m1", "Always", "i1:wait m1:wait", live, PENDING),
            ("i1 m1", "Always", "i1:run m1:wait", live, PENDING),
            ("i1 m1", "Always", "i1:fail m1:wait", live, PENDING),
            ("i1 m1", "Never", "i1:fail m1:wait", live, FAILED),
            ("i1 m1", "Never", "i1:wait<fail m1:wait", live, FAILED),
            ("i1 m1", "OnFailure", "i1:wait<fail m1:wait", live, PENDING),
            ("i1 m1", "Always", "i1:done m1:run", live, RUNNING),
            ("i1 m1", "Always", "i1:run m1:fail", live, PENDING),
            ("i1 m1", "Never", "i1:done m1:done", live, SUCCEEDED),
            // sidecars
            ("s1 m1", "Always", "s1:unstarted m1:wait", live, PENDING),
            ("s1 m1", "Always", "s1:unstarted m1:run", live, PENDING),
            ("s1 m1", "Always", "s1:unstarted m1:run", initialized, RUNNING),
            ("s1 m1", "Always", "s1:run m1:run", live, RUNNING),
            ("s1 m1", "Always", "s1:fail m1:run", live, RUNNING),
            ("s1 m1", "Never", "s1:run m1:done", live, RUNNING),
            ("s1 m1", "Never", "s1:done m1:done", live, SUCCEEDED),
            ("s1 m1", "Never", "s1:fail m1:done", live, SUCCEEDED),
            ("s1 m1", "Never", "s1:wait<fail m1:fail", live, FAILED),
            ("s1 m1", "Always", "m1:run", live, PENDING),
        ];
        for (names, policy, now, circumstances, expected) in cases {
            let found = phase(&pod(names, policy), &statuses(now), circumstances);
            assert_eq!(found, expected, "{names}, {policy}: {now} {circumstances:?}");
        }
    }
}
