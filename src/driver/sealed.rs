//! Secrets at rest: what the agent caches of them is encrypted with a key that this machine keeps.
//!
//! A sealed text is `LHS1`, the key's name (8 bytes), a random nonce (12 bytes), and AES-256-GCM's ciphertext with its
//! tag. What stands before the ciphertext is authenticated with it, and so is the name under which it was sealed: a
//! file that was changed, cut, or put in another's place does not open.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// Name of the key file in the agent's data directory, and of the systemd credential that replaces it.
pub const KEY_FILE: &str = "leasehold-cache.key";

const KEY_BYTES: usize = 32;
const MAGIC: &[u8; 4] = b"LHS1";
const KEY_NAME_BYTES: usize = 8;
const HEADER_BYTES: usize = MAGIC.len() + KEY_NAME_BYTES;

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// The key file cannot be read or made.
    #[error("{}: cannot {tried}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// `read`, `create` …
        tried: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The key file holds no key.
    #[error(
        "{}: {length} bytes, expected {KEY_BYTES}: restore it, or remove it to begin with a new key and an empty cache",
        path.display()
    )]
    NoKey {
        /// Which file.
        path: PathBuf,
        /// What it holds.
        length: usize,
    },
    /// Sealed by another version or another machine's key: it is worthless here, and may be thrown away.
    #[error("{name}: sealed with another key or by another version")]
    Foreign {
        /// What was to be opened.
        name: String,
    },
    /// Changed, cut, or sealed under another name: it is worthless, and may be thrown away.
    #[error("{name}: the sealed text is damaged")]
    Damaged {
        /// What was to be opened.
        name: String,
    },
    /// The system gives no random bytes.
    #[error("no random bytes to be had")]
    NoEntropy,
}

/// Seals and opens with this machine's key.
pub struct Sealer {
    key: LessSafeKey,
    header: [u8; HEADER_BYTES],
    random: SystemRandom,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// Takes the key from systemd's credentials directory if it is there, else from [`KEY_FILE`] in `dir`, which is
    /// made (0600, 256 random bits) where there is none.
    pub fn load_or_create(dir: &Path, credentials: Option<&Path>) -> Result<Self, SealedError> {
        if let Some(path) = credentials.map(|dir| dir.join(KEY_FILE))
            && let Some(key) = read_key(&path)?
        {
            return Ok(Self::new(&key));
        }
        let path = dir.join(KEY_FILE);
        if let Some(key) = read_key(&path)? {
            return Ok(Self::new(&key));
        }
        let mut key = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut key).map_err(|_| SealedError::NoEntropy)?;
        keep_key(dir, &path, &key)?;
        // Whoever was first has won.
        let kept = read_key(&path)?.unwrap_or(key);
        Ok(Self::new(&kept))
    }

    fn new(key: &[u8; KEY_BYTES]) -> Self {
        let mut header = [0; HEADER_BYTES];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()..].copy_from_slice(&digest(&SHA256, key).as_ref()[..KEY_NAME_BYTES]);
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has AES-256's length");
        Self { key: LessSafeKey::new(key), header, random: SystemRandom::new() }
    }

    /// Seals `text`; it opens under the same name only.
    pub fn seal(&self, name: &str, text: &[u8]) -> Result<Vec<u8>, SealedError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealedError::NoEntropy)?;
        let mut cipher = text.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.bound_to(name), &mut cipher)
            .expect("a text in memory is shorter than AES-GCM's limit of 64 GiB");
        Ok([&self.header, nonce.as_slice(), &cipher].concat())
    }

    /// Opens what was sealed under this name.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, SealedError> {
        let damaged = || SealedError::Damaged { name: name.to_owned() };
        let (header, rest) = sealed.split_at_checked(HEADER_BYTES).ok_or_else(damaged)?;
        if header != self.header {
            return Err(SealedError::Foreign { name: name.to_owned() });
        }
        let (nonce, cipher) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let mut cipher = cipher.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = self.key.open_in_place(nonce, self.bound_to(name), &mut cipher).map_err(|_| damaged())?;
        let length = text.len();
        cipher.truncate(length);
        Ok(cipher)
    }

    fn bound_to(&self, name: &str) -> Aad<Vec<u8>> {
        Aad::from([&self.header, name.as_bytes()].concat())
    }
}

fn failed<'a>(path: &'a Path, tried: &'static str) -> impl FnOnce(io::Error) -> SealedError + use<'a> {
    move |source| SealedError::File { path: path.to_owned(), tried, source }
}

/// None where there is no such file.
fn read_key(path: &Path) -> Result<Option<[u8; KEY_BYTES]>, SealedError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        // One byte more than a key shows that it is none.
        Ok(file) => file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed(path, "read"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "read")(error)),
    };
    let length = bytes.len();
    let key = bytes.try_into().map_err(|_| SealedError::NoKey { path: path.to_owned(), length })?;
    Ok(Some(key))
}

/// Writes a new key, whole or not at all, unless there is one by now.
fn keep_key(dir: &Path, path: &Path, key: &[u8; KEY_BYTES]) -> Result<(), SealedError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir, "create"))?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed(&draft, "create"))?;
    file.write_all(key).and_then(|()| file.sync_all()).map_err(failed(&draft, "write"))?;
    let linked = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(path, "create")(error)),
        Ok(()) | Err(_) => Ok(()),
    };
    fs::remove_file(&draft).map_err(failed(&draft, "remove"))?;
    linked?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir, "sync"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn sealer() -> (tempfile::TempDir, Sealer) {
        let dir = tempfile::tempdir().expect("a directory");
        let sealer = Sealer::load_or_create(dir.path(), None).expect("a key");
        (dir, sealer)
    }

    #[test]
    fn what_is_sealed_opens_again_with_the_key_that_was_kept() {
        let (dir, sealer) = sealer();
        let sealed = sealer.seal("default/token", b"hunter2").expect("seals");
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        let again = Sealer::load_or_create(dir.path(), None).expect("the key");
        assert_eq!(again.open("default/token", &sealed).expect("opens"), b"hunter2");
        assert_eq!(again.open("empty", &sealer.seal("empty", b"").expect("seals")).expect("opens"), b"");
        assert_ne!(sealer.seal("default/token", b"hunter2").expect("seals"), sealed, "nonces differ");
    }

    #[test]
    fn no_bit_can_be_changed_and_no_byte_cut_or_added() {
        let (_dir, sealer) = sealer();
        let sealed = sealer.seal("name", b"text").expect("seals");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = sealer.open("name", &changed).expect_err("refused");
            let foreign = matches!(error, SealedError::Foreign { .. });
            assert_eq!(foreign, bit / 8 < HEADER_BYTES, "bit {bit}: {error}");
        }
        for length in 0..sealed.len() {
            let error = sealer.open("name", &sealed[..length]).expect_err("refused");
            assert!(matches!(error, SealedError::Damaged { .. }), "{length}: {error}");
        }
        assert!(sealer.open("name", &[&sealed[..], b"x"].concat()).is_err());
    }

    #[test]
    fn a_text_opens_under_its_own_name_and_with_its_own_key_only() {
        let (_dir, ours) = sealer();
        let (_other_dir, theirs) = sealer();
        let sealed = ours.seal("default/a", b"text").expect("seals");
        assert!(matches!(ours.open("default/b", &sealed), Err(SealedError::Damaged { .. })));
        assert!(matches!(theirs.open("default/a", &sealed), Err(SealedError::Foreign { .. })));
    }

    #[test]
    fn the_key_file_is_private_and_what_is_no_key_is_named() {
        let (dir, _) = sealer();
        let path = dir.path().join(KEY_FILE);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
        for length in [0, 31, 33, 100] {
            fs::write(&path, vec![7; length]).expect("writable");
            let error = Sealer::load_or_create(dir.path(), None).expect_err("refused");
            assert!(error.to_string().contains("restore it, or remove it"), "{error}");
        }
    }

    #[test]
    fn a_credential_comes_before_the_key_file() {
        let (dir, from_file) = sealer();
        let credentials = tempfile::tempdir().expect("a directory");
        let load = || Sealer::load_or_create(dir.path(), Some(credentials.path())).expect("a key");
        let sealed = from_file.seal("name", b"text").expect("seals");
        assert_eq!(load().open("name", &sealed).expect("no credential: the file's key"), b"text");
        fs::write(credentials.path().join(KEY_FILE), [9; KEY_BYTES]).expect("writable");
        assert!(matches!(load().open("name", &sealed), Err(SealedError::Foreign { .. })));
        assert_eq!(
            load().open("name", &load().seal("name", b"text").expect("seals")).expect("opens"),
            b"text"
        );
    }
}
