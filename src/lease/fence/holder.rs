//! The agent's part: it arms the guard before anything starts, tells it of every renewal, and has everything dead
//! before the guard would have to. PURE.
//!
//! ```text
//!        armed, granted      thawed             D/4 or grace before           1 s before
//!   Shut ─────────▶ Opening ───────▶ Open ──────────────────────▶ Ending ───────────────▶ Fencing ──▶ Fenced
//!    ▲                                └── the session or the identity is lost: at once ──────▲            │
//!    └────────────────────────── a session is held, and the identity under it ───────────────────────────┘
//! ```
//!
//! A Pod is armed as soon as there is a session; its cgroup is opened only when its identity is held under that session.
//! Only what is [`Fence::is_open`] may start. A Pod whose containers are dead is released: the guard forgets it before
//! its cgroup goes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::FenceLevel;
use crate::lease::session::SessionId;
use crate::time::Instant;

/// How long before the deadline the agent kills what SIGTERM has not ended.
pub const KILL_BEFORE: Duration = Duration::from_secs(1);
/// When something that was refused or failed is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// How a node fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceConfig {
    /// What the node was told to promise.
    pub level: FenceLevel,
    /// D.
    pub duration: Duration,
}

/// What may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A Pod with an identity is here; nothing of it starts before it is open.
    Wanted {
        /// Names its cgroup.
        uid: String,
        /// `terminationGracePeriodSeconds`.
        grace: Duration,
    },
    /// Its containers are seen dead, none is being started, and its cgroup is about to be removed.
    Gone(String),
    /// Its identity is held under the session.
    Granted(String),
    /// It is not, or not any more: whatever runs of it has to die.
    Withdrawn(String),
    /// What the node's session is now; none when it holds none.
    Session(Option<(SessionId, Instant)>),
    /// The session's machine wants everything fenced. → [`Effect::AllFenced`] with this number
    FenceAll(u64),
    /// The guard can be reached.
    GuardUp {
        /// The most it can do.
        level: FenceLevel,
        /// What its table holds of an earlier agent.
        known: Vec<String>,
    },
    /// It cannot; what it was told stands in its table.
    GuardDown,
    /// To [`Effect::Arm`].
    Armed {
        /// Whom.
        uid: String,
        /// Under which session, as asked.
        session: SessionId,
    },
    /// To [`Effect::Disarm`].
    Disarmed(String),
    /// To [`Effect::Arm`] and [`Effect::Disarm`]: not now.
    Refused(String),
    /// To [`Effect::Fence`]: frozen, and seen empty.
    Fenced(String),
    /// To [`Effect::Fence`]: something is still there.
    NotFenced(String),
    /// To [`Effect::Thaw`].
    Thawed(String),
    /// To [`Effect::Thaw`]: it is still frozen.
    NotThawed(String),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Have the guard watch over this Pod. → `Armed | Refused`
    Arm {
        /// Whom.
        uid: String,
        /// Under which session.
        session: SessionId,
        /// Until when it may run.
        deadline: Instant,
    },
    /// Tell the guard that what was armed under this session may run longer.
    Renew {
        /// Which session.
        session: SessionId,
        /// Until when.
        deadline: Instant,
    },
    /// Have the guard forget this Pod. → `Disarmed | Refused`
    Disarm(String),
    /// Send SIGTERM to the Pod's containers.
    Terminate(String),
    /// Freeze the Pod's cgroup, kill what is in it, see it empty. → `Fenced | NotFenced`
    Fence(String),
    /// Open the cgroup, if it is frozen, when no start of the Pod is under way. → `Thawed | NotThawed`
    Thaw(String),
    /// Containers of this Pod may start from now on; what was held back is tried again.
    Opened(String),
    /// The answer to [`Input::FenceAll`].
    AllFenced(u64),
    /// The answer to [`Input::Gone`].
    Released(String),
}

/// Why nothing of a Pod may start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The node holds no session.
    NoSession,
    /// The guard has not acknowledged the Pod.
    Unguarded,
    /// It is being fenced, or was.
    Fenced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Shut,
    Opening,
    Open,
    Ending { kill_at: Instant },
    Fencing,
    Fenced,
    Releasing,
}

#[derive(Clone, Debug)]
struct Pod {
    grace: Duration,
    life: Life,
    /// Known from the guard's table alone: it is fenced with the others, and never opened.
    stray: bool,
    /// Its sandbox goes as soon as it may.
    leaving: bool,
    /// Its identity is held under the session.
    granted: bool,
    /// What may run of it since an earlier agent's time was asked to end before it is killed then.
    asked_to_end: Option<Instant>,
    /// The session under which this guard has acknowledged it.
    armed: Option<SessionId>,
    /// An effect is under way, or was refused and may be repeated then.
    asked: Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    Yes,
    Again(Instant),
}

impl Asked {
    fn may(self, now: Instant) -> bool {
        match self {
            Self::No => true,
            Self::Yes => false,
            Self::Again(at) => now >= at,
        }
    }
}

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct Fence {
    config: FenceConfig,
    session: Option<(SessionId, Instant)>,
    /// The first deadline that was heard of: whoever has just begun may still renew.
    begun_with: Option<Instant>,
    guard: Option<FenceLevel>,
    pods: BTreeMap<String, Pod>,
    /// The order under way.
    ordered: Option<u64>,
    effects: VecDeque<Effect>,
}

impl Fence {
    /// A node that has no Pod with an identity.
    pub fn new(config: FenceConfig) -> Self {
        Self {
            config,
            session: None,
            begun_with: None,
            guard: None,
            pods: BTreeMap::new(),
            ordered: None,
            effects: VecDeque::new(),
        }
    }

    /// Takes one input in.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Wanted { uid, grace } => self.wanted(uid, grace),
            Input::Gone(uid) => self.gone(uid),
            Input::Granted(uid) => self.granted(&uid),
            Input::Withdrawn(uid) => self.withdrawn(&uid),
            Input::Session(session) => self.session_is(session),
            Input::FenceAll(number) => self.fence_all(number),
            Input::GuardUp { level, known } => self.guard_up(level, known),
            Input::GuardDown => self.guard_down(),
            Input::Armed { uid, session } => self.acknowledged(&uid, session),
            Input::Disarmed(uid) => self.disarmed(&uid),
            Input::Refused(uid) | Input::NotFenced(uid) | Input::NotThawed(uid) => self.not_now(&uid, now),
            Input::Fenced(uid) => self.fenced(&uid),
            Input::Thawed(uid) => self.thawed(&uid),
            Input::Tick => {}
        }
        self.pass(now);
        self.answer_order();
    }

    /// The next thing to do, if any.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.fences() {
            return None;
        }
        self.pods.values().filter_map(|pod| self.wake(pod)).min()
    }

    /// Whether containers of this Pod may start.
    pub fn is_open(&self, uid: &str) -> Result<(), Closed> {
        if self.config.level == FenceLevel::None {
            return Ok(());
        }
        let (session, _) = self.session.as_ref().ok_or(Closed::NoSession)?;
        let pod = self.pods.get(uid).ok_or(Closed::Unguarded)?;
        match pod.life {
            Life::Open if pod.armed.as_ref() == Some(session) => Ok(()),
            Life::Open | Life::Shut | Life::Opening => Err(Closed::Unguarded),
            Life::Ending { .. } | Life::Fencing | Life::Fenced | Life::Releasing => Err(Closed::Fenced),
        }
    }

    /// The session under which the guard has acknowledged this Pod, and the level that may stand in the Lease of its
    /// identity, which is what that guard can do.
    pub fn armed(&self, uid: &str) -> Option<(&SessionId, FenceLevel)> {
        let armed = self.pods.get(uid)?.armed.as_ref()?;
        self.guard.map(|guard| (armed, guard.min(self.config.level)))
    }

    fn fences(&self) -> bool {
        self.config.level > FenceLevel::None
    }

    fn wanted(&mut self, uid: String, grace: Duration) {
        let new = Pod {
            grace,
            life: Life::Shut,
            stray: false,
            leaving: false,
            granted: false,
            asked_to_end: None,
            armed: None,
            asked: Asked::No,
        };
        let pod = self.pods.entry(uid).or_insert(new);
        (pod.grace, pod.stray) = (grace, false);
    }

    fn granted(&mut self, uid: &str) {
        let held = self.session.is_some() && self.ordered.is_none();
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.granted = held;
        }
    }

    fn withdrawn(&mut self, uid: &str) {
        let fences = self.fences();
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.granted = false;
        if fences {
            fence_now(uid, pod, &mut self.effects);
        }
    }

    fn gone(&mut self, uid: String) {
        match self.pods.get_mut(&uid) {
            Some(pod) if self.config.level > FenceLevel::None => pod.leaving = true,
            _ => {
                self.pods.remove(&uid);
                self.effects.push_back(Effect::Released(uid));
            }
        }
    }

    fn session_is(&mut self, session: Option<(SessionId, Instant)>) {
        let told = self.session.as_ref().map(|(id, deadline)| (id.clone(), *deadline));
        if let Some((id, deadline)) = session.as_ref().filter(|now| told.as_ref() != Some(now))
            && self.guard.is_some()
            && self.pods.values().any(|pod| pod.armed.is_some() || pod.asked != Asked::No)
        {
            self.effects.push_back(Effect::Renew { session: id.clone(), deadline: *deadline });
        }
        let is_same = session.as_ref().map(|(id, _)| id) == self.session.as_ref().map(|(id, _)| id);
        if !is_same {
            self.forget_grants();
        }
        self.begun_with = self.begun_with.or(session.as_ref().map(|(_, deadline)| *deadline));
        self.session = session;
    }

    /// An identity is held under one session.
    fn forget_grants(&mut self) {
        for pod in self.pods.values_mut() {
            pod.granted = false;
        }
    }

    fn fence_all(&mut self, number: u64) {
        self.ordered = Some(number);
        self.session = None;
        self.forget_grants();
        if !self.fences() {
            return;
        }
        for (uid, pod) in &mut self.pods {
            fence_now(uid, pod, &mut self.effects);
        }
    }

    fn answer_order(&mut self) {
        let done = |pod: &Pod| matches!(pod.life, Life::Fenced | Life::Releasing);
        if let Some(number) = self.ordered
            && (!self.fences() || self.pods.values().all(done))
        {
            self.ordered = None;
            self.effects.push_back(Effect::AllFenced(number));
        }
    }

    fn guard_up(&mut self, level: FenceLevel, known: Vec<String>) {
        self.guard_down();
        self.guard = Some(level);
        for uid in known {
            let grace = Duration::ZERO;
            if !self.pods.contains_key(&uid) {
                self.wanted(uid.clone(), grace);
                self.pods.entry(uid).and_modify(|pod| pod.stray = true);
            }
        }
    }

    fn guard_down(&mut self) {
        self.guard = None;
        for pod in self.pods.values_mut() {
            pod.armed = None;
            if matches!(pod.life, Life::Shut | Life::Open | Life::Fenced | Life::Releasing) {
                pod.asked = Asked::No;
            }
        }
    }

    fn acknowledged(&mut self, uid: &str, session: SessionId) {
        let Some(pod) = self.pods.get_mut(uid).filter(|_| self.guard.is_some()) else { return };
        pod.armed = Some(session);
        match pod.life {
            Life::Shut | Life::Fenced | Life::Open => pod.asked = Asked::No,
            Life::Opening | Life::Ending { .. } | Life::Fencing | Life::Releasing => {}
        }
    }

    fn thawed(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid).filter(|pod| pod.life == Life::Opening) else { return };
        pod.life = Life::Open;
        pod.asked = Asked::No;
        self.effects.push_back(Effect::Opened(uid.to_owned()));
    }

    fn fenced(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid).filter(|pod| pod.life == Life::Fencing) else { return };
        pod.life = Life::Fenced;
        pod.asked = Asked::No;
        // Its guard has to hear that it may live again.
        pod.armed = None;
    }

    fn disarmed(&mut self, uid: &str) {
        if self.pods.get(uid).is_some_and(|pod| pod.life == Life::Releasing) {
            self.pods.remove(uid);
            self.effects.push_back(Effect::Released(uid.to_owned()));
        }
    }

    fn not_now(&mut self, uid: &str, now: Instant) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.asked = Asked::Again(now + AGAIN);
        }
    }

    /// When what may run of a shut Pod is to be asked to end; none: it was asked, or the session was not renewed yet.
    fn ask_to_end(&self, pod: &Pod) -> Option<Instant> {
        let (_, deadline) = self.session.as_ref()?;
        let (terminate_at, kill_at) = self.times(pod)?;
        let is_due = self.begun_with != Some(*deadline) && pod.asked_to_end != Some(kill_at);
        is_due.then_some(terminate_at)
    }

    /// When SIGTERM, and when SIGKILL, unless the session is renewed before.
    fn times(&self, pod: &Pod) -> Option<(Instant, Instant)> {
        let (_, deadline) = self.session.as_ref()?;
        let grace = pod.grace.min(self.config.duration / 4).max(KILL_BEFORE);
        Some((*deadline - grace, *deadline - KILL_BEFORE))
    }

    fn wake(&self, pod: &Pod) -> Option<Instant> {
        let again = if let Asked::Again(at) = pod.asked { Some(at) } else { None };
        let life = match pod.life {
            Life::Ending { kill_at } => Some(kill_at),
            Life::Opening | Life::Open => self.times(pod).map(|(terminate_at, _)| terminate_at),
            Life::Shut => self.ask_to_end(pod).or(self.times(pod).map(|(_, kill_at)| kill_at)),
            Life::Fencing | Life::Fenced | Life::Releasing => None,
        };
        [again, life].into_iter().flatten().min()
    }

    /// What time changes, and what can be asked for now.
    fn pass(&mut self, now: Instant) {
        if !self.fences() {
            return;
        }
        let uids: Vec<String> = self.pods.keys().cloned().collect();
        for uid in uids {
            self.end_in_time(&uid, now);
            self.ask(&uid, now);
        }
    }

    fn end_in_time(&mut self, uid: &str, now: Instant) {
        let times = self.pods.get(uid).and_then(|pod| self.times(pod));
        let ask_at = self.pods.get(uid).and_then(|pod| self.ask_to_end(pod));
        let Some(pod) = self.pods.get_mut(uid) else { return };
        match (pod.life, times) {
            (Life::Opening | Life::Open, Some((terminate_at, kill_at))) if now >= terminate_at => {
                pod.life = Life::Ending { kill_at };
                self.effects.push_back(Effect::Terminate(uid.to_owned()));
            }
            // It may run since an earlier agent's time.
            (Life::Shut, Some((_, kill_at))) if now >= kill_at => {
                begin_fencing(uid, pod, &mut self.effects);
            }
            (Life::Shut, Some((_, kill_at))) if ask_at.is_some_and(|at| now >= at) => {
                pod.asked_to_end = Some(kill_at);
                self.effects.push_back(Effect::Terminate(uid.to_owned()));
            }
            _ => {}
        }
        if matches!(pod.life, Life::Ending { kill_at } if now >= kill_at) {
            begin_fencing(uid, pod, &mut self.effects);
        }
    }

    fn ask(&mut self, uid: &str, now: Instant) {
        let guard = self.guard.is_some();
        let times = self.pods.get(uid).and_then(|pod| self.times(pod));
        let time_left = times.is_some_and(|(terminate_at, _)| now < terminate_at);
        let session = self.session.clone().filter(|_| self.ordered.is_none() && time_left);
        let Some(pod) = self.pods.get_mut(uid).filter(|pod| pod.asked.may(now)) else { return };
        let effect = match pod.life {
            Life::Fencing => Effect::Fence(uid.to_owned()),
            Life::Opening => Effect::Thaw(uid.to_owned()),
            Life::Shut | Life::Fenced | Life::Open if pod.leaving => {
                pod.life = Life::Releasing;
                pod.asked = Asked::No;
                return self.ask(uid, now);
            }
            Life::Releasing if guard => Effect::Disarm(uid.to_owned()),
            Life::Shut | Life::Fenced | Life::Open if guard && !pod.stray => match session {
                Some((session, deadline)) if pod.armed.as_ref() != Some(&session) => {
                    Effect::Arm { uid: uid.to_owned(), session, deadline }
                }
                Some(_) if pod.granted && pod.life != Life::Open => {
                    pod.life = Life::Opening;
                    Effect::Thaw(uid.to_owned())
                }
                Some(_) | None => return,
            },
            Life::Shut | Life::Fenced | Life::Open | Life::Ending { .. } | Life::Releasing => return,
        };
        pod.asked = Asked::Yes;
        self.effects.push_back(effect);
    }
}

/// The same, unless that is so already.
fn fence_now(uid: &str, pod: &mut Pod, effects: &mut VecDeque<Effect>) {
    match pod.life {
        Life::Shut | Life::Opening | Life::Open | Life::Ending { .. } => begin_fencing(uid, pod, effects),
        Life::Fencing | Life::Fenced | Life::Releasing => {}
    }
}

/// Nothing of it may start or run any more.
fn begin_fencing(uid: &str, pod: &mut Pod, effects: &mut VecDeque<Effect>) {
    pod.life = Life::Fencing;
    pod.asked = Asked::Yes;
    effects.push_back(Effect::Fence(uid.to_owned()));
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoSession => "the node holds no session",
            Self::Unguarded => "the guard has not acknowledged this Pod yet",
            Self::Fenced => "the Pod is fenced until the node holds a session again",
        })
    }
}

#[cfg(test)]
mod tests;
