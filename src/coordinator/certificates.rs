//! What becomes of a request for a certificate: rules over who asks, for what subject, by which signer. PURE.
//!
//! | signer | for whom | approved |
//! |---|---|---|
//! | `kubernetes.io/kube-apiserver-client-kubelet` | a node, by itself or with a token that makes nodes | by these rules |
//! | `leasehold.dev/steward-client` | a steward, by itself or with a token that makes stewards | by these rules |
//! | `kubernetes.io/kube-apiserver-client`, `kubernetes.io/kubelet-serving` | others | by people |

use serde_json::{Value, json};

use crate::api::names;
use crate::authorization::bootstrap::{NODE_BOOTSTRAPPERS, STEWARD_BOOTSTRAPPERS};
use crate::authorization::node::{NODES, SYSTEM_NODES, USER_PREFIX};
use crate::authorization::{MASTERS, User};
use crate::coordinator::sessions::Life;
use crate::time::{Instant, WallTime};

/// Signs certificates of nodes.
pub const NODE_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signs certificates of stewards.
pub const STEWARD_SIGNER: &str = "leasehold.dev/steward-client";
/// Signs what people approve, for clients.
pub const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// Signs what people approve, for the endpoints of nodes.
pub const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
/// The group of stewards.
pub const STEWARDS: &str = "leasehold:stewards";
/// How a steward's user name begins; the name of its node follows.
pub const STEWARD_PREFIX: &str = "leasehold:steward:";

/// What the PKCS #10 request in it asks for; its signature has been verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Common name.
    pub common_name: String,
    /// Organizations.
    pub organizations: Vec<String>,
    /// How many DNS names and addresses, and how many other names.
    pub alternative_names: (usize, usize),
}

/// What is to be done about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: others decide, or it is settled.
    Leave,
    /// Nothing yet: whether the node's name is free is known at this instant.
    Wait(Instant),
    /// It is approved, and then signed.
    Approve,
    /// It is denied, for this reason.
    Deny(String),
    /// It is signed: it has been approved.
    Sign,
    /// It has been approved and cannot be signed, for this reason.
    Fail(String),
}

/// Whether a node of this name is alive, as its session says.
pub trait Alive {
    /// What this coordinator has seen of the session.
    fn session(&self, node: &str) -> Life;
}

/// What is to be done about `request`; `subject` is what its `spec.request` asks for, or why that cannot be read.
pub fn verdict(request: &Value, subject: &Result<Subject, String>, alive: &dyn Alive) -> Verdict {
    let status = &request["status"];
    let has = |kind: &str| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| condition["type"] == kind)
    };
    let signer = request["spec"]["signerName"].as_str().unwrap_or_default();
    let is_ours = [NODE_SIGNER, STEWARD_SIGNER, CLIENT_SIGNER, SERVING_SIGNER].contains(&signer);
    let is_settled = has("Denied") || has("Failed") || status["certificate"].is_string();
    if !is_ours || is_settled {
        return Verdict::Leave;
    }
    let subject = match subject {
        Ok(subject) => subject,
        Err(why) if has("Approved") => return Verdict::Fail(why.clone()),
        Err(why) => return Verdict::Deny(why.clone()),
    };
    let usages: Vec<&str> =
        request["spec"]["usages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let form = form(signer, subject, &usages);
    if has("Approved") {
        return form.map_or_else(Verdict::Fail, |()| Verdict::Sign);
    }
    match signer {
        NODE_SIGNER | STEWARD_SIGNER => {
            match form.and_then(|()| right(&asker(request), subject, signer, alive)) {
                Ok(verdict) => verdict,
                Err(why) => Verdict::Deny(why),
            }
        }
        _ => Verdict::Leave,
    }
}

/// Who made the request, as the coordinator noted then.
fn asker(request: &Value) -> User {
    let groups = request["spec"]["groups"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let groups: Vec<&str> = groups.collect();
    User::new(request["spec"]["username"].as_str().unwrap_or_default(), &groups)
}

/// Whether the signer gives out certificates of this form.
fn form(signer: &str, subject: &Subject, usages: &[&str]) -> Result<(), String> {
    let organization = |wanted: &str| {
        if subject.organizations == [wanted] {
            return Ok(());
        }
        Err(format!("organization {:?}: expected {wanted:?} alone", subject.organizations.join(", ")))
    };
    let purpose = if signer == SERVING_SIGNER { "server auth" } else { "client auth" };
    let allowed = ["digital signature", "key encipherment", purpose];
    if let Some(odd) = usages.iter().find(|usage| !allowed.contains(usage)) {
        return Err(format!("usage {odd:?}: expected {}", allowed.join(", ")));
    }
    if !usages.contains(&purpose) {
        return Err(format!("usages: expected {purpose:?} among them"));
    }
    let (hosts, others) = subject.alternative_names;
    match signer {
        SERVING_SIGNER if hosts == 0 || others > 0 => {
            return Err("expected at least one DNS name or address, and no other alternative names".into());
        }
        NODE_SIGNER | STEWARD_SIGNER if hosts + others > 0 => {
            return Err("expected no alternative names".into());
        }
        _ => {}
    }
    match signer {
        NODE_SIGNER => {
            node_name(&subject.common_name, USER_PREFIX)?;
            organization(NODES)
        }
        STEWARD_SIGNER => {
            node_name(&subject.common_name, STEWARD_PREFIX)?;
            organization(STEWARDS)
        }
        SERVING_SIGNER => {
            node_name(&subject.common_name, USER_PREFIX)?;
            organization(SYSTEM_NODES)
        }
        _ if subject.organizations.iter().any(|group| group == MASTERS) => {
            Err(format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"))
        }
        _ => Ok(()),
    }
}

fn node_name<'a>(common_name: &'a str, prefix: &str) -> Result<&'a str, String> {
    let node = common_name.strip_prefix(prefix).unwrap_or_default();
    match names::dns1123_subdomain(node).first() {
        None => Ok(node),
        Some(_) => Err(format!("common name {common_name:?}: expected {prefix}NODE")),
    }
}

/// Whether the one who asks may have this certificate.
fn right(asker: &User, subject: &Subject, signer: &str, alive: &dyn Alive) -> Result<Verdict, String> {
    let (own, joins, prefix) = match signer {
        NODE_SIGNER => (NODES, NODE_BOOTSTRAPPERS, USER_PREFIX),
        _ => (STEWARDS, STEWARD_BOOTSTRAPPERS, STEWARD_PREFIX),
    };
    if asker.name == subject.common_name && asker.is_in(own) {
        return Ok(Verdict::Approve);
    }
    if !asker.is_in(joins) {
        return Err(format!(
            "user {:?} may not ask for a certificate of {:?}",
            asker.name, subject.common_name
        ));
    }
    let node = node_name(&subject.common_name, prefix)?;
    match alive.session(node) {
        Life::Alive(renewed) if signer == NODE_SIGNER => Err(format!(
            "node {node:?} is alive, its session was renewed at {renewed}: a second machine may not join under its \
             name. Choose another --node-name; or, if this is that machine, wait until the session has ended"
        )),
        Life::Unknown(until) if signer == NODE_SIGNER => Ok(Verdict::Wait(until)),
        Life::Alive(_) | Life::Unknown(_) | Life::Over => Ok(Verdict::Approve),
    }
}

/// The request with a condition more.
pub fn with_condition(request: &Value, kind: &str, reason: &str, message: &str, now: WallTime) -> Value {
    let mut changed = request.clone();
    let time = now.seconds();
    let condition = json!({
        "type": kind, "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": time, "lastTransitionTime": time,
    });
    if !changed["status"]["conditions"].is_array() {
        changed["status"]["conditions"] = json!([]);
    }
    if let Some(conditions) = changed["status"]["conditions"].as_array_mut() {
        conditions.push(condition);
    }
    changed
}

/// For how long it asks, in seconds, and at most `longest`.
pub fn life_seconds(request: &Value, longest: u64) -> u64 {
    request["spec"]["expirationSeconds"].as_u64().map_or(longest, |asked| asked.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Session(Life);
    impl Alive for Session {
        fn session(&self, _: &str) -> Life {
            self.0.clone()
        }
    }

    fn request(signer: &str, user: &str, groups: &[&str], usages: &[&str]) -> Value {
        json!({ "spec": { "signerName": signer, "username": user, "groups": groups, "usages": usages } })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the rules take it")]
    fn subject(common_name: &str, organization: &str) -> Result<Subject, String> {
        let organizations = vec![organization.to_owned()];
        Ok(Subject { common_name: common_name.into(), organizations, alternative_names: (0, 0) })
    }

    const CLIENT: &[&str] = &["digital signature", "client auth"];

    #[test]
    fn nodes_and_stewards_are_approved_by_rule() {
        type Case<'a> = (&'a str, &'a str, &'a [&'a str], &'a str, &'a str, &'a str);
        let cases: &[Case<'_>] = &[
            (NODE_SIGNER, "t", &[NODE_BOOTSTRAPPERS], "system:node:n1", NODES, ""),
            (NODE_SIGNER, "system:node:n1", &[NODES], "system:node:n1", NODES, ""),
            (STEWARD_SIGNER, "t", &[STEWARD_BOOTSTRAPPERS], "leasehold:steward:n1", STEWARDS, ""),
            (
                NODE_SIGNER,
                "system:node:n2",
                &[NODES],
                "system:node:n1",
                NODES,
                "user \"system:node:n2\" may not",
            ),
            (NODE_SIGNER, "t", &["system:bootstrappers"], "system:node:n1", NODES, "user \"t\" may not"),
            (
                STEWARD_SIGNER,
                "t",
                &[NODE_BOOTSTRAPPERS],
                "leasehold:steward:n1",
                STEWARDS,
                "user \"t\" may not",
            ),
            (NODE_SIGNER, "t", &[NODE_BOOTSTRAPPERS], "system:node:n1", STEWARDS, "organization"),
            (NODE_SIGNER, "t", &[NODE_BOOTSTRAPPERS], "system:node:n1", MASTERS, "organization"),
            (NODE_SIGNER, "t", &[NODE_BOOTSTRAPPERS], "system:node:N 1", NODES, "common name"),
            (NODE_SIGNER, "t", &[NODE_BOOTSTRAPPERS], "admin", NODES, "common name"),
        ];
        for (signer, user, groups, name, organization, refusal) in cases {
            let request = request(signer, user, groups, CLIENT);
            let found = verdict(&request, &subject(name, organization), &Session(Life::Over));
            match found {
                Verdict::Approve => assert!(refusal.is_empty(), "{name} {organization} for {user}"),
                Verdict::Deny(why) => assert!(!refusal.is_empty() && why.starts_with(refusal), "{why}"),
                other @ (Verdict::Leave | Verdict::Wait(_) | Verdict::Sign | Verdict::Fail(_)) => {
                    panic!("{other:?}")
                }
            }
        }
    }

    #[test]
    fn a_second_machine_does_not_join_under_a_live_nodes_name() {
        let request = request(NODE_SIGNER, "t", &[NODE_BOOTSTRAPPERS], CLIENT);
        let found =
            verdict(&request, &subject("system:node:n1", NODES), &Session(Life::Alive("12:00".into())));
        let Verdict::Deny(why) = found else { panic!("{found:?}") };
        assert!(why.contains("\"n1\" is alive") && why.contains("--node-name"), "{why}");

        let soon = Instant::from_boot(std::time::Duration::from_secs(23));
        let unknown = Session(Life::Unknown(soon));
        assert_eq!(verdict(&request, &subject("system:node:n1", NODES), &unknown), Verdict::Wait(soon));
        let itself = self::request(NODE_SIGNER, "system:node:n1", &[NODES], CLIENT);
        assert_eq!(verdict(&itself, &subject("system:node:n1", NODES), &unknown), Verdict::Approve);
    }

    #[test]
    fn what_others_ask_for_waits_for_people_and_is_then_signed_if_the_signer_gives_out_such() {
        let waits = request(CLIENT_SIGNER, "ann", &[], CLIENT);
        let found = subject("ann", "ops");
        assert_eq!(verdict(&waits, &found, &Session(Life::Over)), Verdict::Leave);
        let now = WallTime::parse("2026-01-02T03:04:05Z").unwrap();
        let approved = with_condition(&waits, "Approved", "x", "", now);
        assert_eq!(verdict(&approved, &found, &Session(Life::Over)), Verdict::Sign);
        assert!(matches!(
            verdict(&approved, &subject("ann", MASTERS), &Session(Life::Over)),
            Verdict::Fail(_)
        ));
        let denied = with_condition(&waits, "Denied", "x", "", now);
        assert_eq!(verdict(&denied, &found, &Session(Life::Over)), Verdict::Leave);
        let foreign = with_condition(&request("example.org/x", "ann", &[], CLIENT), "Approved", "x", "", now);
        assert_eq!(verdict(&foreign, &found, &Session(Life::Over)), Verdict::Leave);
        let mut signed = approved.clone();
        signed["status"]["certificate"] = "x".into();
        assert_eq!(verdict(&signed, &found, &Session(Life::Over)), Verdict::Leave);
        let unreadable = Err("no request".to_owned());
        assert_eq!(verdict(&approved, &unreadable, &Session(Life::Over)), Verdict::Fail("no request".into()));
        let serving = request(SERVING_SIGNER, "system:node:n1", &[NODES], &["server auth"]);
        let serving = with_condition(&serving, "Approved", "x", "", now);
        let mut named = subject("system:node:n1", SYSTEM_NODES);
        assert!(
            matches!(verdict(&serving, &named, &Session(Life::Over)), Verdict::Fail(_)),
            "no name to serve"
        );
        named.as_mut().unwrap().alternative_names = (1, 0);
        assert_eq!(verdict(&serving, &named, &Session(Life::Over)), Verdict::Sign);
    }

    #[test]
    fn nobody_gets_a_longer_life_than_the_cluster_gives() {
        assert_eq!(life_seconds(&json!({ "spec": { "expirationSeconds": 600 } }), 3600), 600);
        assert_eq!(life_seconds(&json!({ "spec": { "expirationSeconds": 7200 } }), 3600), 3600);
        assert_eq!(life_seconds(&json!({ "spec": {} }), 3600), 3600);
    }
}
