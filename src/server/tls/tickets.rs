//! Session tickets: a client that was here before proves it with a ticket, which saves both sides most of a handshake.
//!
//! The keys outlive the process, so that a restart does not have every node begin anew at once. They are as secret as
//! the authority's key, beside which they are kept. A ticket carries the client's certificate, and who that is is judged
//! at every connection.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};

use super::write_private;
use crate::time::WallTime;

/// A key makes tickets for so long, and opens them for as long again.
const KEY_LIFE: Duration = Duration::from_hours(12);
/// A key's name, at the head of every ticket.
const NAME_LENGTH: usize = 8;
const KEY_LENGTH: usize = 32;

/// Makes and opens tickets.
#[derive(Debug)]
pub struct Tickets {
    path: PathBuf,
    wall: fn() -> WallTime,
    /// The newest first, two at most.
    keys: Mutex<Vec<Key>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Key {
    /// Base64 of the name and the secret.
    key: String,
    /// When it was made.
    made: jiff::Timestamp,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Tickets {
    /// Goes on with the keys in the file at `path`. Without them, or with none that can be read, clients have to begin
    /// anew, and that is all.
    pub fn load(path: &Path, wall: fn() -> WallTime) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let keys: Vec<Key> = serde_json::from_str(&text).unwrap_or_default();
        Self { path: path.into(), wall, keys: Mutex::new(keys) }
    }

    /// The keys that are good now; the first makes tickets.
    fn keys(&self) -> Option<Vec<Key>> {
        let now = (self.wall)().0;
        let good_for = |key: &Key, life: Duration| key.made <= now && now < key.made + life;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|key| good_for(key, 2 * KEY_LIFE));
        if !keys.first().is_some_and(|newest| good_for(newest, KEY_LIFE)) {
            keys.insert(0, Key::new(now)?);
            keys.truncate(2);
            let text = serde_json::to_string(&*keys).ok()?;
            if let Err(error) = write_private(&self.path, &text) {
                tracing::warn!(%error, "the keys of TLS session tickets are not kept");
            }
        }
        Some(keys.clone())
    }
}

impl Key {
    fn new(now: jiff::Timestamp) -> Option<Self> {
        let mut bytes = [0; NAME_LENGTH + KEY_LENGTH];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self { key: STANDARD.encode(bytes), made: now })
    }

    /// Its name, and what encrypts with it.
    fn open(&self) -> Option<([u8; NAME_LENGTH], LessSafeKey)> {
        let bytes = STANDARD.decode(&self.key).ok()?;
        let (name, secret) = bytes.split_first_chunk()?;
        let secret = UnboundKey::new(&AES_256_GCM, secret).ok()?;
        Some((*name, LessSafeKey::new(secret)))
    }
}

/// A ticket is the name of its key, a nonce, and what was encrypted.
impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        KEY_LIFE.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys()?.first()?.open()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let assumed = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(assumed, Aad::from(name), &mut sealed).ok()?;
        Some([&name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LENGTH>()?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        let keys = self.keys()?;
        let (name, key) = keys.iter().filter_map(Key::open).find(|(found, _)| found == name)?;
        let mut sealed = sealed.to_vec();
        let plain =
            key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(name), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static HOURS: Cell<i64> = const { Cell::new(0) };
    }

    fn wall() -> WallTime {
        WallTime(jiff::Timestamp::UNIX_EPOCH + Duration::from_hours(HOURS.get() as u64))
    }

    #[test]
    fn tickets_open_after_a_restart_and_until_their_key_is_too_old() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tickets.json");
        HOURS.set(100);
        let tickets = Tickets::load(&path, wall);
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_ne!(ticket, tickets.encrypt(b"session").unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for (hours, opens) in [(100, true), (111, true), (123, true), (124, false), (99, false)] {
            HOURS.set(hours);
            let opened = Tickets::load(&path, wall).decrypt(&ticket);
            assert_eq!(opened.as_deref(), opens.then_some(&b"session"[..]), "{hours}");
            HOURS.set(100);
            fs::remove_file(&path).unwrap();
            write_private(&path, &serde_json::to_string(&*tickets.keys.lock().unwrap()).unwrap()).unwrap();
        }
    }

    #[test]
    fn after_half_a_day_another_key_makes_tickets_and_the_first_still_opens_its_own() {
        let dir = tempfile::tempdir().unwrap();
        HOURS.set(100);
        let tickets = Tickets::load(&dir.path().join("tickets.json"), wall);
        let first = tickets.encrypt(b"first").unwrap();
        HOURS.set(113);
        let second = tickets.encrypt(b"second").unwrap();
        assert_ne!(first[..NAME_LENGTH], second[..NAME_LENGTH]);
        assert_eq!(tickets.decrypt(&first).as_deref(), Some(&b"first"[..]));
        assert_eq!(tickets.decrypt(&second).as_deref(), Some(&b"second"[..]));
    }

    #[test]
    fn what_is_no_ticket_or_has_been_changed_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tickets.json");
        fs::write(&path, "nonsense").unwrap();
        let tickets = Tickets::load(&path, wall);
        let ticket = tickets.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "{at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at}");
        }
    }
}
