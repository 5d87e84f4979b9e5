use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_boot(Duration::from_millis(millis))
}

fn session(epoch: i32) -> SessionId {
    SessionId { node: "n".to_owned(), lease_uid: "l".to_owned(), epoch }
}

/// D = 20 s.
fn fence(level: FenceLevel) -> Fence {
    Fence::new(FenceConfig { level, duration: Duration::from_secs(20) })
}

fn hear(fence: &mut Fence, input: Input, millis: u64) -> Vec<Effect> {
    fence.handle(input, at(millis));
    std::iter::from_fn(|| fence.next_effect()).collect()
}

fn wanted(seconds: u64) -> Input {
    Input::Wanted { uid: "a".to_owned(), grace: Duration::from_secs(seconds) }
}

fn held(epoch: i32, deadline_millis: u64) -> Input {
    Input::Session(Some((session(epoch), at(deadline_millis))))
}

fn up() -> Input {
    Input::GuardUp { level: FenceLevel::Reset, known: Vec::new() }
}

fn armed(epoch: i32) -> Input {
    Input::Armed { uid: "a".to_owned(), session: session(epoch) }
}

fn a() -> String {
    "a".to_owned()
}

/// Open since 0 s under a session until 20 s, with a guard.
fn open(grace: u64) -> Fence {
    let mut fence = fence(FenceLevel::Kill);
    assert_eq!(hear(&mut fence, wanted(grace), 0), []);
    assert_eq!(hear(&mut fence, up(), 0), []);
    let arm = Effect::Arm { uid: a(), session: session(1), deadline: at(20_000) };
    assert_eq!(hear(&mut fence, held(1, 20_000), 0), [arm]);
    assert_eq!(fence.is_open("a"), Err(Closed::Unguarded));
    assert_eq!(fence.armed("a"), None);
    assert_eq!(hear(&mut fence, armed(1), 0), [], "its identity is not held yet");
    assert_eq!(fence.armed("a"), Some((&session(1), FenceLevel::Kill)));
    assert_eq!(hear(&mut fence, Input::Granted(a()), 0), [Effect::Thaw(a())]);
    assert_eq!(fence.is_open("a"), Err(Closed::Unguarded));
    assert_eq!(hear(&mut fence, Input::Thawed(a()), 0), [Effect::Opened(a())]);
    assert_eq!(fence.is_open("a"), Ok(()));
    fence
}

#[test]
fn a_pod_is_told_to_end_and_killed_before_the_deadline_by_its_grace_at_most_a_quarter_of_the_session() {
    for (grace, terminated) in [(0, 19_000), (1, 19_000), (3, 17_000), (5, 15_000), (3600, 15_000)] {
        let mut fence = open(grace);
        assert_eq!(fence.next_deadline(), Some(at(terminated)), "{grace}");
        assert_eq!(hear(&mut fence, Input::Tick, terminated - 1), [], "{grace}");
        let effects = hear(&mut fence, Input::Tick, terminated);
        assert_eq!(effects[0], Effect::Terminate(a()), "{grace}");
        assert_eq!(fence.is_open("a"), Err(Closed::Fenced));
        let effects =
            if terminated < 19_000 { hear(&mut fence, Input::Tick, 19_000) } else { effects[1..].to_vec() };
        assert_eq!(effects, [Effect::Fence(a())], "{grace}");
    }
}

#[test]
fn a_renewal_moves_the_times_and_tells_the_guard() {
    let mut fence = open(30);
    let renew = Effect::Renew { session: session(1), deadline: at(24_000) };
    assert_eq!(hear(&mut fence, held(1, 24_000), 4_100), [renew]);
    assert_eq!(hear(&mut fence, held(1, 24_000), 4_200), []);
    assert_eq!(fence.next_deadline(), Some(at(19_000)));
}

#[test]
fn a_fence_once_begun_finishes_and_the_pod_then_starts_in_place() {
    let mut fence = open(30);
    assert_eq!(hear(&mut fence, Input::Tick, 15_000), [Effect::Terminate(a())]);
    hear(&mut fence, held(1, 36_000), 16_000);
    assert_eq!(fence.is_open("a"), Err(Closed::Fenced));
    assert_eq!(hear(&mut fence, Input::Tick, 19_000), [Effect::Fence(a())]);
    let arm = Effect::Arm { uid: a(), session: session(1), deadline: at(36_000) };
    assert_eq!(hear(&mut fence, Input::Fenced(a()), 19_010), [arm]);
    assert_eq!(hear(&mut fence, armed(1), 19_020), [Effect::Thaw(a())]);
    assert_eq!(hear(&mut fence, Input::Thawed(a()), 19_030), [Effect::Opened(a())]);
    assert_eq!(fence.is_open("a"), Ok(()));
}

#[test]
fn a_lost_session_is_answered_when_all_is_seen_dead_and_opens_under_the_next_one_only() {
    let mut fence = open(30);
    hear(&mut fence, Input::Session(None), 5_000);
    assert_eq!(fence.is_open("a"), Err(Closed::NoSession));
    assert_eq!(hear(&mut fence, Input::FenceAll(7), 5_000), [Effect::Fence(a())]);
    assert_eq!(hear(&mut fence, Input::NotFenced(a()), 5_100), []);
    assert_eq!(hear(&mut fence, Input::Tick, 5_300), [Effect::Fence(a())]);
    assert_eq!(hear(&mut fence, Input::Fenced(a()), 5_400), [Effect::AllFenced(7)]);
    let arm = Effect::Arm { uid: a(), session: session(2), deadline: at(29_000) };
    assert_eq!(hear(&mut fence, held(2, 29_000), 9_000).last(), Some(&arm));
    // What was asked under the session before opens nothing.
    assert!(!hear(&mut fence, armed(1), 9_001).contains(&Effect::Thaw(a())));
    assert_eq!(hear(&mut fence, armed(2), 9_002), [], "what was granted before is not granted now");
    assert_eq!(hear(&mut fence, Input::Granted(a()), 9_003), [Effect::Thaw(a())]);
}

#[test]
fn a_node_without_pods_of_identity_answers_at_once_and_one_that_fences_nothing_stops_nothing() {
    assert_eq!(hear(&mut fence(FenceLevel::Kill), Input::FenceAll(1), 0), [Effect::AllFenced(1)]);
    let mut none = fence(FenceLevel::None);
    hear(&mut none, wanted(5), 0);
    assert_eq!(none.is_open("a"), Ok(()));
    hear(&mut none, held(1, 20_000), 0);
    assert_eq!(hear(&mut none, Input::Tick, 30_000), []);
    assert_eq!(hear(&mut none, Input::FenceAll(1), 30_000), [Effect::AllFenced(1)]);
    assert_eq!(none.armed("a"), None);
    assert_eq!(hear(&mut none, Input::Gone(a()), 30_000), [Effect::Released(a())]);
}

#[test]
fn a_pod_whose_identity_is_lost_is_fenced_at_once_and_opens_when_it_is_held_again() {
    let mut fence = open(30);
    assert_eq!(hear(&mut fence, Input::Withdrawn(a()), 1_000), [Effect::Fence(a())]);
    assert_eq!(fence.is_open("a"), Err(Closed::Fenced));
    let arm = Effect::Arm { uid: a(), session: session(1), deadline: at(20_000) };
    assert_eq!(hear(&mut fence, Input::Fenced(a()), 1_010), [arm]);
    assert_eq!(hear(&mut fence, armed(1), 1_020), []);
    assert_eq!(hear(&mut fence, Input::Granted(a()), 1_030), [Effect::Thaw(a())]);
}

#[test]
fn a_guard_that_was_away_is_told_everything_again_and_nothing_starts_before_it_has_acknowledged() {
    let mut fence = open(30);
    hear(&mut fence, Input::GuardDown, 1_000);
    assert_eq!(fence.is_open("a"), Err(Closed::Unguarded));
    assert_eq!(fence.armed("a"), None);
    hear(&mut fence, held(1, 24_000), 4_000);
    let arm = Effect::Arm { uid: a(), session: session(1), deadline: at(24_000) };
    assert_eq!(hear(&mut fence, up(), 4_001), [arm]);
    assert_eq!(hear(&mut fence, armed(1), 4_002), []);
    assert_eq!(fence.is_open("a"), Ok(()));
}

#[test]
fn a_pod_whose_containers_are_dead_is_released_when_the_guard_has_forgotten_it() {
    let mut fence = open(30);
    assert_eq!(hear(&mut fence, Input::Gone(a()), 1_000), [Effect::Disarm(a())]);
    assert_eq!(hear(&mut fence, Input::Refused(a()), 1_001), []);
    assert_eq!(hear(&mut fence, Input::Tick, 1_201), [Effect::Disarm(a())]);
    assert_eq!(hear(&mut fence, Input::Disarmed(a()), 1_202), [Effect::Released(a())]);
    assert_eq!(hear(&mut fence, Input::Gone(a()), 1_203), [Effect::Released(a())]);
}

#[test]
fn what_only_the_guards_table_knows_is_fenced_with_the_rest_and_never_opened() {
    let mut fence = fence(FenceLevel::Kill);
    let known = Input::GuardUp { level: FenceLevel::Kill, known: vec![a()] };
    assert_eq!(hear(&mut fence, known, 0), []);
    assert_eq!(hear(&mut fence, Input::FenceAll(1), 0), [Effect::Fence(a())]);
    assert_eq!(hear(&mut fence, Input::Fenced(a()), 1), [Effect::AllFenced(1)]);
    assert_eq!(hear(&mut fence, held(1, 20_000), 2), []);
    assert_eq!(hear(&mut fence, Input::Gone(a()), 3), [Effect::Disarm(a())]);
}

#[test]
fn an_agent_that_has_just_begun_lets_a_session_be_renewed_before_it_ends_what_runs() {
    let mut fence = fence(FenceLevel::Kill);
    hear(&mut fence, wanted(30), 0);
    hear(&mut fence, up(), 0);
    assert_eq!(hear(&mut fence, held(1, 20_000), 18_000), []);
    assert_eq!(hear(&mut fence, Input::Tick, 18_500), []);
    let arm = Effect::Arm { uid: a(), session: session(1), deadline: at(38_500) };
    assert_eq!(hear(&mut fence, held(1, 38_500), 18_600), [arm]);
    assert_eq!(hear(&mut fence, Input::Tick, 33_499), []);
    assert_eq!(
        hear(&mut fence, Input::Tick, 33_500),
        [Effect::Terminate(a())],
        "it may not be its own any more"
    );
    assert_eq!(hear(&mut fence, Input::Tick, 36_000), [], "once");
    assert_eq!(hear(&mut fence, Input::Tick, 37_500), [Effect::Fence(a())]);
    let mut silent = fence_of_before();
    assert_eq!(hear(&mut silent, Input::Tick, 19_000), [Effect::Fence(a())]);
}

/// One that has a Pod of an earlier agent's time, and a session that ends at 20 s.
fn fence_of_before() -> Fence {
    let mut fence = fence(FenceLevel::Kill);
    hear(&mut fence, wanted(30), 0);
    hear(&mut fence, held(1, 20_000), 18_000);
    fence
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wanted(u8),
    Granted(u8),
    Withdrawn(u8),
    Gone(u8),
    Renewed,
    Lost,
    GuardUp,
    GuardDown,
    /// The oldest effect that waits for an answer gets it: well or not.
    Answer(bool),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        2 => (0..3_u8).prop_map(Step::Wanted),
        4 => (0..3_u8).prop_map(Step::Granted),
        1 => (0..3_u8).prop_map(Step::Withdrawn),
        1 => (0..3_u8).prop_map(Step::Gone),
        4 => Just(Step::Renewed),
        1 => Just(Step::Lost),
        3 => Just(Step::GuardUp),
        1 => Just(Step::GuardDown),
        12 => proptest::bool::weighted(0.9).prop_map(Step::Answer),
        4 => (0..4_000_u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(one, 0..150)
}

/// A guard and a session, as the machine is told of them.
#[derive(Default)]
struct World {
    now: u64,
    epoch: i32,
    deadline: Option<u64>,
    number: u64,
    ordered: Option<u64>,
    waiting: VecDeque<Effect>,
    /// Whose identity is held under the session.
    granted: std::collections::BTreeSet<String>,
    /// By UID: the session under which the guard has it.
    guard: BTreeMap<String, SessionId>,
    /// UIDs whose cgroups are frozen and empty.
    frozen: std::collections::BTreeSet<String>,
}

impl World {
    fn answer(&mut self, well: bool) -> Option<Input> {
        Some(match self.waiting.pop_front()? {
            Effect::Arm { uid, .. } | Effect::Disarm(uid) if !well => Input::Refused(uid),
            Effect::Fence(uid) if !well => Input::NotFenced(uid),
            Effect::Thaw(uid) if !well => Input::NotThawed(uid),
            Effect::Arm { uid, session, .. } => {
                self.guard.insert(uid.clone(), session.clone());
                Input::Armed { uid, session }
            }
            Effect::Disarm(uid) => {
                self.guard.remove(&uid);
                Input::Disarmed(uid)
            }
            Effect::Fence(uid) => {
                self.frozen.insert(uid.clone());
                Input::Fenced(uid)
            }
            Effect::Thaw(uid) => {
                self.frozen.remove(&uid);
                Input::Thawed(uid)
            }
            Effect::Renew { .. }
            | Effect::Terminate(_)
            | Effect::Opened(_)
            | Effect::AllFenced(_)
            | Effect::Released(_) => return None,
        })
    }

    fn input(&mut self, step: Step) -> Option<Input> {
        let uid = |number: u8| number.to_string();
        Some(match step {
            Step::Wanted(number) => Input::Wanted { uid: uid(number), grace: Duration::from_secs(2) },
            Step::Granted(_) if self.deadline.is_none() || self.ordered.is_some() => return None,
            Step::Granted(number) => {
                self.granted.insert(uid(number));
                Input::Granted(uid(number))
            }
            Step::Withdrawn(number) => {
                self.granted.remove(&uid(number));
                Input::Withdrawn(uid(number))
            }
            Step::Gone(number) => Input::Gone(uid(number)),
            Step::Renewed if self.ordered.is_some() => return None,
            Step::Renewed => {
                self.epoch += i32::from(self.deadline.is_none());
                self.deadline = Some(self.now + 20_000);
                Input::Session(Some((session(self.epoch), at(self.now + 20_000))))
            }
            Step::Lost => {
                self.deadline = None;
                self.granted.clear();
                self.number += 1;
                self.ordered = Some(self.number);
                Input::FenceAll(self.number)
            }
            Step::GuardUp => Input::GuardUp { level: FenceLevel::Kill, known: Vec::new() },
            // What was asked of it gets no answer.
            Step::GuardDown => {
                self.waiting.retain(|effect| !matches!(effect, Effect::Arm { .. } | Effect::Disarm(_)));
                Input::GuardDown
            }
            Step::Answer(well) => return self.answer(well),
            Step::Pass(millis) => {
                self.now += millis;
                Input::Tick
            }
        })
    }
}

proptest! {
    #[test]
    fn i1_what_may_start_is_thawed_guarded_under_the_session_that_is_held_and_has_time_left(steps in steps()) {
        let mut fence = fence(FenceLevel::Kill);
        let mut world = World::default();
        for step in steps {
            let Some(input) = world.input(step) else { continue };
            // The session's machine speaks as soon as its deadline passes.
            let expired = world.deadline.filter(|deadline| world.now >= *deadline);
            let lost = expired.is_some().then(|| world.input(Step::Lost)).flatten();
            for input in std::iter::once(input).chain(lost) {
                for effect in hear(&mut fence, input, world.now) {
                    match effect {
                        Effect::AllFenced(number) => {
                            prop_assert_eq!(world.ordered.take(), Some(number));
                            let alive = |uid: &&String| fence.pods[*uid].life != Life::Releasing;
                            for uid in fence.pods.keys().filter(alive) {
                                prop_assert!(world.frozen.contains(uid), "{} is not fenced", uid);
                            }
                        }
                        Effect::Released(uid) => {
                            world.frozen.remove(&uid);
                            prop_assert!(!world.guard.contains_key(&uid), "{} is guarded still", uid);
                        }
                        other @ (Effect::Arm { .. }
                        | Effect::Renew { .. }
                        | Effect::Disarm(_)
                        | Effect::Terminate(_)
                        | Effect::Fence(_)
                        | Effect::Thaw(_)
                        | Effect::Opened(_)) => world.waiting.push_back(other),
                    }
                }
            }
            for uid in ["0", "1", "2"].map(str::to_owned) {
                if fence.is_open(&uid).is_err() {
                    continue;
                }
                prop_assert!(world.granted.contains(&uid), "{} is open without its identity", uid);
                prop_assert!(!world.frozen.contains(&uid), "{} is open and frozen", uid);
                prop_assert_eq!(world.guard.get(&uid), Some(&session(world.epoch)), "{}", uid);
                let left = world.deadline.map(|deadline| deadline.saturating_sub(world.now));
                prop_assert!(left.is_some_and(|left| left > 1_000), "{}: {:?}", uid, left);
            }
        }
    }
}
