use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Instant {
    Instant::from_boot(Duration::from_secs(seconds))
}

fn charge(uid: &str, session: u64, deadline: u64) -> Charge {
    Charge {
        uid: uid.to_owned(),
        dir: String::new(),
        session,
        deadline: at(deadline),
        margin: Duration::from_secs(4),
        level: FenceLevel::Reset,
    }
}

fn due(watch: &Watch) -> Vec<&str> {
    watch.due().map(|entry| entry.charge.uid.as_str()).collect()
}

#[test]
fn a_deadline_that_is_not_renewed_makes_the_pod_due_and_one_that_is_does_not() {
    let mut watch = Watch::default();
    watch.arm(charge("a", 1, 10), at(0)).unwrap();
    watch.arm(charge("b", 2, 10), at(0)).unwrap();
    watch.renew(1, at(15), at(9));
    assert_eq!(watch.next_deadline(), Some(at(10)));
    assert!(!watch.pass(at(9)));
    assert!(watch.pass(at(10)));
    assert_eq!(due(&watch), ["b"]);
    watch.pass(at(15));
    assert_eq!(due(&watch), ["a", "b"]);
}

#[test]
fn a_renewal_that_comes_at_the_deadline_or_later_revives_nothing() {
    let mut watch = Watch::default();
    watch.arm(charge("a", 1, 10), at(0)).unwrap();
    watch.renew(1, at(30), at(10));
    assert_eq!(due(&watch), ["a"]);
    assert_eq!(watch.arm(charge("a", 1, 30), at(11)), Err(Refusal::BeingFenced));
    assert_eq!(watch.disarm("a", at(11)), Err(Refusal::BeingFenced));
    watch.seen_empty("a");
    assert_eq!(watch.arm(charge("a", 2, 30), at(12)), Ok(()));
    assert_eq!(due(&watch), [""; 0]);
}

#[test]
fn a_deadline_never_moves_back() {
    let mut watch = Watch::default();
    watch.arm(charge("a", 1, 10), at(0)).unwrap();
    watch.renew(1, at(20), at(1));
    watch.renew(1, at(15), at(2));
    watch.arm(charge("a", 1, 12), at(3)).unwrap();
    assert_eq!(watch.next_deadline(), Some(at(20)));
    assert_eq!(watch.arm(charge("b", 1, 3), at(3)), Err(Refusal::Late));
}

#[test]
fn what_does_not_die_in_half_a_margin_is_told_once_and_resets_the_machine_where_that_was_asked() {
    for (level, overdue) in [
        (FenceLevel::Kill, Overdue::Report),
        (FenceLevel::None, Overdue::Report),
        (FenceLevel::Reset, Overdue::Reset),
    ] {
        let mut watch = Watch::default();
        watch.arm(Charge { level, ..charge("a", 1, 10) }, at(0)).unwrap();
        watch.pass(at(10));
        assert_eq!(watch.next_deadline(), Some(at(12)));
        assert_eq!(watch.overdue(at(11)), []);
        assert_eq!(watch.overdue(at(12)), [("a".to_owned(), overdue)]);
        assert_eq!(watch.overdue(at(13)), []);
    }
}

#[test]
fn what_joins_a_fenced_cgroup_late_is_killed_again_and_resets_nothing() {
    let mut watch = Watch::default();
    watch.arm(charge("a", 1, 10), at(0)).unwrap();
    watch.fence(Some("a"), at(5));
    watch.seen_empty("a");
    watch.seen_populated("a", at(6));
    assert_eq!(due(&watch), ["a"]);
    assert_eq!(watch.overdue(at(30)), [("a".to_owned(), Overdue::Report)]);
    watch.seen_empty("a");
    assert_eq!(watch.disarm("a", at(31)), Ok(()));
    assert_eq!(watch.entries().count(), 0);
}

#[test]
fn a_table_that_is_full_takes_no_more_and_keeps_what_it_has() {
    let mut watch = Watch::default();
    for number in 0..ENTRIES_MAX {
        watch.arm(charge(&number.to_string(), 1, 10), at(0)).unwrap();
    }
    assert_eq!(watch.arm(charge("x", 1, 10), at(0)), Err(Refusal::Full));
    assert_eq!(watch.arm(charge("7", 1, 11), at(0)), Ok(()));
}

#[derive(Clone, Debug)]
enum Event {
    Arm(u8, u64, u64),
    Renew(u64, u64),
    Disarm(u8),
    Empty(u8),
    Populated(u8),
    Crash,
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let one = prop_oneof![
        (0..3_u8, 1..3_u64, 1..12_u64).prop_map(|(uid, session, ahead)| Event::Arm(uid, session, ahead)),
        (1..3_u64, 1..12_u64).prop_map(|(session, ahead)| Event::Renew(session, ahead)),
        (0..3_u8).prop_map(Event::Disarm),
        (0..3_u8).prop_map(Event::Empty),
        (0..3_u8).prop_map(Event::Populated),
        Just(Event::Crash),
    ];
    proptest::collection::vec((0..6_u64, one), 0..60)
}

proptest! {
    /// The oracle knows of each Pod the latest deadline that was ever promised to it in time.
    #[test]
    fn i1_nothing_counts_as_alive_past_the_last_deadline_that_was_told_in_time(events in events()) {
        let mut watch = Watch::default();
        let mut promised = BTreeMap::<String, (u64, Instant)>::new();
        let mut now = at(0);
        for (step, event) in events {
            now = now + Duration::from_secs(step);
            match event {
                Event::Arm(uid, session, ahead) => {
                    let deadline = now + Duration::from_secs(ahead);
                    let charge = Charge { deadline, ..charge(&uid.to_string(), session, 0) };
                    if watch.arm(charge, now).is_ok() {
                        let old = promised.get(&uid.to_string()).filter(|(of, until)| *of == session && now < *until);
                        let until = old.map_or(deadline, |(_, until)| deadline.max(*until));
                        promised.insert(uid.to_string(), (session, until));
                    }
                }
                Event::Renew(session, ahead) => {
                    let deadline = now + Duration::from_secs(ahead);
                    watch.renew(session, deadline, now);
                    for (of, until) in promised.values_mut() {
                        if *of == session && now < *until {
                            *until = deadline.max(*until);
                        }
                    }
                }
                Event::Disarm(uid) => {
                    if watch.disarm(&uid.to_string(), now).is_ok() {
                        promised.remove(&uid.to_string());
                    }
                }
                Event::Empty(uid) => watch.seen_empty(&uid.to_string()),
                Event::Populated(uid) => watch.seen_populated(&uid.to_string(), now),
                Event::Crash => watch = Watch::recall(watch.entries().cloned().collect::<Vec<_>>()),
            }
            watch.pass(now);
            for entry in watch.entries() {
                let (_, until) = promised[&entry.charge.uid];
                prop_assert!(entry.standing != Standing::Armed || now < until);
            }
            prop_assert!(watch.next_deadline().is_none_or(|next| next > now || watch.due().next().is_some()));
        }
    }
}
