use std::fs;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::*;
use crate::time::WallTime;

fn now() -> WallTime {
    WallTime::parse("2026-01-02T03:04:05Z").unwrap()
}

fn later(days: u64) -> WallTime {
    WallTime(now().0 + Duration::from_secs(days * 86_400))
}

fn server(names: &[&str]) -> Wanted {
    let names = names.iter().map(|&n| n.to_owned()).collect();
    Wanted { common_name: "leasehold".into(), purpose: Purpose::Server { names } }
}

#[test]
fn the_authority_stays_the_same_and_its_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let first = Authority::load_or_create(dir.path(), now()).unwrap();
    let again = Authority::load_or_create(dir.path(), later(100)).unwrap();
    assert_eq!(first.ca_pem(), again.ca_pem());
    first.keep("server", &server(&["127.0.0.1"]), now()).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_kept_certificate_is_issued_anew_when_a_name_is_missing_or_its_end_is_near_and_not_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(dir.path(), now()).unwrap();
    let first = authority.keep("server", &server(&["127.0.0.1", "::1", "Node-1"]), now()).unwrap();
    let same = authority.keep("server", &server(&["0:0::1", "node-1"]), later(200)).unwrap();
    assert_eq!(first, same);
    let renamed = authority.keep("server", &server(&["127.0.0.1", "192.0.2.7"]), now()).unwrap();
    assert_ne!(first, renamed);
    let renewed = authority.keep("server", &server(&["127.0.0.1"]), later(300)).unwrap();
    assert_ne!(renamed, renewed);
}

#[test]
fn a_certificate_of_another_authority_is_not_kept() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let foreign = Authority::load_or_create(other.path(), now()).unwrap();
    let foreign = foreign.keep("server", &server(&["localhost"]), now()).unwrap();
    let authority = Authority::load_or_create(dir.path(), now()).unwrap();
    write_private(&dir.path().join("server.crt"), &foreign.certificate_pem).unwrap();
    write_private(&dir.path().join("server.key"), &foreign.key_pem).unwrap();
    assert_ne!(authority.keep("server", &server(&["localhost"]), now()).unwrap(), foreign);
}

#[test]
fn a_client_is_known_by_name_and_groups_and_a_foreign_one_by_nothing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Verification reads the real clock.
    let issued = WallTime(jiff::Timestamp::from_second(UnixTime::now().as_secs() as i64).unwrap());
    let authority = Authority::load_or_create(dir.path(), issued).unwrap();
    let verifier = Verifier::new(authority.ca_pem()).unwrap();
    let peer_of = |identity: &Identity| {
        let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap()];
        verifier.peer(Some(&chain))
    };
    let node = authority.issue_client("system:node:a", &[NODES, "b"], issued).unwrap();
    let known = Peer { common_name: "system:node:a".into(), organizations: vec![NODES.into(), "b".into()] };
    assert_eq!(peer_of(&node), Some(known));
    let foreign = Authority::load_or_create(other.path(), issued).unwrap();
    assert_eq!(peer_of(&foreign.issue_client("system:node:a", &[MASTERS], issued).unwrap()), None);
    let serving = authority.issue_server("node", &["localhost".into()], issued).unwrap();
    assert_eq!(peer_of(&serving), None);
    assert_eq!(verifier.peer(None), None);
}

#[test]
fn a_damaged_authority_is_named_and_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    Authority::load_or_create(dir.path(), now()).unwrap();
    fs::write(dir.path().join("ca.crt"), "nonsense").unwrap();
    let error = Authority::load_or_create(dir.path(), now()).unwrap_err().to_string();
    assert!(error.contains("ca.crt"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("ca.crt")).unwrap(), "nonsense");
}
