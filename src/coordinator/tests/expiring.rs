use std::time::Duration;

use super::*;
use crate::coordinator::Expiry;
use crate::time::Instant;

fn minutes(count: u64) -> Instant {
    Instant::from_boot(Duration::from_mins(count))
}

fn event(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "involvedObject": { "namespace": "default" }, "type": "Normal" })
}

#[test]
fn an_event_ends_one_hour_after_its_last_write() {
    let mut endpoint = Endpoint::new();
    let mut expiry = Expiry::default();
    for (name, minute) in [("a", 10), ("b", 20)] {
        endpoint.create("Event", event(name));
        expiry.observe(&endpoint.changes, minutes(minute));
    }
    endpoint.create("ConfigMap", named("c"));
    expiry.observe(&endpoint.changes, minutes(20));
    endpoint.merge("Event", "a", &json!({ "count": 2 }));
    expiry.observe(&endpoint.changes, minutes(30));
    assert_eq!(expiry.next_deadline(), Some(minutes(80)));
    assert!(expiry.due(minutes(79), 10).is_empty());
    for (now, name) in [(minutes(80), "b"), (minutes(90), "a")] {
        let due = expiry.due(now, 10);
        assert_eq!(due.len(), 1, "{name}");
        assert_eq!(endpoint.run(&due[0]).expect("never refused").outcome, Outcome::Deleted);
        assert_eq!(endpoint.get("Event", name), None);
        expiry.observe(&endpoint.changes, now);
    }
    assert_eq!(expiry.next_deadline(), None);
}

#[test]
fn an_expiry_that_comes_after_a_new_write_does_nothing() {
    let mut endpoint = Endpoint::new();
    let mut expiry = Expiry::default();
    endpoint.create("Event", event("a"));
    expiry.observe(&endpoint.changes, minutes(0));
    let late = expiry.due(minutes(60), 10);
    endpoint.merge("Event", "a", &json!({ "count": 2 }));
    assert_eq!(endpoint.run(&late[0]).expect("never refused").outcome, Outcome::Unchanged);
    endpoint.delete("Event", "a");
    assert_eq!(endpoint.run(&late[0]).expect("never refused").outcome, Outcome::Unchanged);
}

#[test]
fn only_so_many_end_at_once_and_what_failed_stays_due() {
    let mut endpoint = Endpoint::new();
    let mut expiry = Expiry::default();
    for i in 0..5 {
        endpoint.create("Event", event(&format!("e{i}")));
        expiry.observe(&endpoint.changes, minutes(0));
    }
    assert_eq!(expiry.due(minutes(60), 3).len(), 3);
    assert_eq!(expiry.due(minutes(60), 10).len(), 5);
    endpoint.delete("Event", "e0");
    expiry.observe(&endpoint.changes, minutes(60));
    assert_eq!(expiry.due(minutes(60), 10).len(), 4);
}

#[test]
fn after_a_restart_events_are_as_old_as_they_say_within_one_lifetime() {
    let mut endpoint = Endpoint::new();
    let seen = |name: &str, time: &str| {
        let mut event = event(name);
        event["lastTimestamp"] = time.into();
        event
    };
    endpoint.now = at("2026-01-02T00:00:00Z");
    endpoint.create("Event", seen("recent", "2026-01-02T02:44:05Z"));
    endpoint.create("Event", seen("old", "2026-01-01T00:00:00Z"));
    endpoint.create("Event", seen("future", "2099-01-01T00:00:00Z"));
    let expiry = Expiry::new(&endpoint.state, minutes(100), at("2026-01-02T03:04:05Z"));
    let names = |now| -> Vec<String> {
        let due = expiry.due(now, 10);
        let name = |command: &Command| {
            let Action::Expire { name, .. } = &command.action else { panic!("{command:?}") };
            name.clone()
        };
        due.iter().map(name).collect()
    };
    assert_eq!(names(minutes(100)), ["old"]);
    assert_eq!(names(minutes(140)), ["old", "recent"]);
    assert_eq!(names(minutes(160)), ["old", "recent", "future"]);
}

/// An empty PEM block CERTIFICATE REQUEST.
const PEM: &str =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KZUE9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";

#[test]
fn a_certificate_request_ends_an_hour_after_its_answer_or_a_day_after_it_was_made() {
    let mut endpoint = Endpoint::new();
    let mut expiry = Expiry::default();
    let request = |name: &str| {
        json!({
            "metadata": { "name": name },
            "spec": { "request": PEM, "signerName": "example.org/x", "usages": ["client auth"] },
        })
    };
    for name in ["answered", "pending"] {
        endpoint.create("CertificateSigningRequest", request(name));
        expiry.observe(&endpoint.changes, minutes(0));
    }
    let mut answered = endpoint.get("CertificateSigningRequest", "answered").expect("made");
    answered["status"]["conditions"] = json!([{ "type": "Denied", "status": "True", "reason": "No" }]);
    endpoint
        .try_update("CertificateSigningRequest", Subresource::Approval, &answered)
        .expect("a valid answer");
    expiry.observe(&endpoint.changes, minutes(10));
    let due = |expiry: &Expiry, now| expiry.due(now, 10).len();
    assert_eq!((due(&expiry, minutes(69)), due(&expiry, minutes(70))), (0, 1));
    assert_eq!(due(&expiry, minutes(24 * 60)), 2);
}
