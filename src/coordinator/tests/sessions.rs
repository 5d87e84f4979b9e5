use std::time::Duration;

use super::*;
use crate::coordinator::sessions::{Life, Sessions};
use crate::time::Instant;

fn second(count: u64) -> Instant {
    Instant::from_boot(Duration::from_secs(count))
}

fn lease(holder: &str, renewed: &str) -> Value {
    json!({
        "metadata": { "name": "n1", "namespace": "kube-node-lease" },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": 20, "renewTime": renewed },
    })
}

#[test]
fn a_session_is_alive_for_d_and_m_after_it_was_seen_to_change_whatever_its_times_say() {
    for renewed in ["2000-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"] {
        let held = lease("n1", renewed);
        let mut sessions = Sessions::new(second(100));
        assert_eq!(sessions.life("n1", None, second(100)), Life::Over);
        assert_eq!(sessions.life("n1", Some(&lease("", renewed)), second(100)), Life::Over);
        assert_eq!(sessions.life("n1", Some(&held), second(110)), Life::Unknown(second(123)));
        assert_eq!(sessions.life("n1", Some(&held), second(123)), Life::Over, "it did not change");

        let mut endpoint = Endpoint::new();
        let create = Action::Create { body: held.clone() };
        endpoint.run(&Command::new(kind("Lease"), "kube-node-lease", create)).expect("a Lease");
        sessions.observe(&endpoint.changes[0], second(130));
        assert_eq!(sessions.life("n1", Some(&held), second(152)), Life::Alive(renewed.to_owned()));
        assert_eq!(sessions.life("n1", Some(&held), second(153)), Life::Over);

        endpoint.create("Lease", json!({ "metadata": { "name": "n1" } }));
        sessions.observe(&endpoint.changes[0], second(160));
        assert_eq!(sessions.life("n1", Some(&held), second(160)), Life::Over, "another's Lease");
    }
}
