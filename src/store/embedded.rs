//! SQLite in one data directory: write-ahead log, `synchronous=FULL`, one process at a time.
//!
//! The directory itself is locked (flock), so that no lock file is left behind. Before anything is written the file's
//! header, its pages and every object in it are checked through a connection that cannot write; a file that fails is
//! left as it was.
//! A new store is built beside its final name and renamed, so a half-made one is never taken for a store.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use super::{CommitError, Entry, Loaded, OpenError, Store, Write};
use crate::coordinator::state::Key;

/// The database within the data directory.
pub const FILE_NAME: &str = "store.db";
/// The layout of tables that this version writes; `user_version` in the file's header.
pub const FORMAT: u32 = 1;
/// `application_id` in the file's header: `leas`.
const APPLICATION_ID: u32 = 0x6c65_6173;
/// SQLite's page cache. State is served from memory, so it only holds the upper pages of the trees.
const PAGE_CACHE_KIB: i64 = 512;
/// The write-ahead log is cut back to this after a checkpoint.
const LOG_SIZE_MAX: i64 = 16 << 20;

const SCHEMA: &str = "
    CREATE TABLE cluster (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        uid TEXT NOT NULL,
        revision INTEGER NOT NULL
    );
    CREATE TABLE object (
        resource TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        revision INTEGER NOT NULL,
        value BLOB NOT NULL,
        UNIQUE (resource, namespace, name)
    );";

const PUT: &str = "
    INSERT INTO object (resource, namespace, name, revision, value) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET revision = excluded.revision, value = excluded.value";

const REMOVE: &str = "DELETE FROM object WHERE resource = ?1 AND namespace = ?2 AND name = ?3";

/// An open data directory.
#[derive(Debug)]
pub struct Embedded {
    directory: PathBuf,
    /// There once everything has been read and found good.
    connection: Option<Connection>,
    _lock: Flock<File>,
}

impl Embedded {
    /// Opens the store in `directory`, and makes both where they are missing. `fresh_uid` becomes the uid of a new
    /// store and is not used otherwise.
    pub fn open(directory: &Path, fresh_uid: &str) -> Result<Self, OpenError> {
        make_private_directory(directory)?;
        let lock = lock(directory)?;
        let path = directory.join(FILE_NAME);
        if is_absent_or_empty(&path)? {
            create(directory, &path, fresh_uid)?;
        } else {
            check_header(&path)?;
        }
        Ok(Self { directory: directory.to_owned(), connection: None, _lock: lock })
    }
}

impl Store for Embedded {
    fn load(&mut self, each: &mut dyn FnMut(Entry) -> Result<(), String>) -> Result<Loaded, OpenError> {
        let path = self.directory.join(FILE_NAME);
        let corrupt = |detail: String| OpenError::Corrupt { path: path.clone(), detail };
        let reader = open_for_reading(&path)?;
        check_pages(&reader).map_err(corrupt)?;
        read_entries(&reader, each).map_err(corrupt)?;
        let loaded = read_cluster(&reader).map_err(|e| corrupt(e.to_string()))?;
        drop(reader);
        self.connection = Some(open_for_writing(&path).map_err(|e| io(&path, "open for writing", e))?);
        Ok(loaded)
    }

    fn commit(&mut self, writes: &[Write], revision: u64) -> Result<(), CommitError> {
        let path = self.directory.clone();
        let Some(connection) = &mut self.connection else {
            return Err(CommitError::Failed { path, detail: "it has not been loaded".into() });
        };
        write_all(connection, writes, revision).map_err(|e| {
            if is_out_of_space(&e, &path) {
                CommitError::NoSpace { path }
            } else {
                CommitError::Failed { path, detail: e.to_string() }
            }
        })
    }
}

fn write_all(connection: &mut Connection, writes: &[Write], revision: u64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut put = transaction.prepare(PUT)?;
        let mut remove = transaction.prepare(REMOVE)?;
        for Write { key, revision, value, .. } in writes {
            let (resource, namespace, name) = (&*key.resource, &*key.namespace, &*key.name);
            match value {
                Some(json) => put.execute(params![resource, namespace, name, *revision as i64, &json[..]])?,
                None => remove.execute([resource, namespace, name])?,
            };
        }
        transaction.execute("UPDATE cluster SET revision = ?1", [revision as i64])?;
    }
    transaction.commit()
}

fn read_entries(
    reader: &Connection,
    each: &mut dyn FnMut(Entry) -> Result<(), String>,
) -> Result<(), String> {
    let unreadable = |e: rusqlite::Error| e.to_string();
    let mut select = reader
        .prepare("SELECT resource, namespace, name, revision, value FROM object")
        .map_err(unreadable)?;
    let mut rows = select.query([]).map_err(unreadable)?;
    while let Some(row) = rows.next().map_err(unreadable)? {
        each(entry(row).map_err(unreadable)?)?;
    }
    Ok(())
}

fn read_cluster(reader: &Connection) -> rusqlite::Result<Loaded> {
    reader.query_row("SELECT uid, revision FROM cluster", [], |row| {
        Ok(Loaded { cluster_uid: row.get(0)?, revision: row.get::<_, i64>(1)? as u64 })
    })
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    let text = |column| row.get::<_, String>(column);
    let key = Key { resource: text(0)?.into(), namespace: text(1)?.into(), name: text(2)?.into() };
    Ok(Entry { key, revision: row.get::<_, i64>(3)? as u64, value: Bytes::from(row.get::<_, Vec<u8>>(4)?) })
}

/// A full disk shows itself as `SQLITE_FULL`, and as an I/O error where SQLite was syncing or growing its shared
/// memory file; the file system's own figure tells the second case.
fn is_out_of_space(error: &rusqlite::Error, directory: &Path) -> bool {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => true,
        Some(ErrorCode::SystemIoFailure) => {
            nix::sys::statvfs::statvfs(directory).is_ok_and(|fs| fs.blocks_available() == 0)
        }
        _ => false,
    }
}

fn io(path: &Path, tried: &str, error: impl std::fmt::Display) -> OpenError {
    OpenError::Io { path: path.to_owned(), detail: format!("cannot {tried}: {error}") }
}

fn make_private_directory(directory: &Path) -> Result<(), OpenError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| io(directory, "create", e))
}

fn lock(directory: &Path) -> Result<Flock<File>, OpenError> {
    let file = File::open(directory).map_err(|e| io(directory, "open", e))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno == nix::errno::Errno::EWOULDBLOCK {
            OpenError::InUse { path: directory.to_owned() }
        } else {
            io(directory, "lock", errno)
        }
    })
}

/// SQLite itself makes an empty file before it writes the first page.
fn is_absent_or_empty(path: &Path) -> Result<bool, OpenError> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file() && found.len() == 0),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(true),
        Err(e) => Err(io(path, "examine", e)),
    }
}

/// Builds the store under another name, in rollback-journal mode so that its header is whole in the file itself.
fn create(directory: &Path, path: &Path, uid: &str) -> Result<(), OpenError> {
    let building = directory.join(format!("{FILE_NAME}.new"));
    let _ = fs::remove_file(&building);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&building)
        .map_err(|e| io(&building, "create", e))?;
    write_schema(&building, uid).map_err(|e| io(&building, "write", e))?;
    fs::rename(&building, path).map_err(|e| io(path, "rename into place", e))?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(|e| io(directory, "sync", e))
}

fn write_schema(building: &Path, uid: &str) -> rusqlite::Result<()> {
    let mut connection = Connection::open_with_flags(building, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.execute("INSERT INTO cluster (id, uid, revision) VALUES (1, ?1, 1)", [uid])?;
    transaction.commit()?;
    connection.close().map_err(|(_, e)| e)
}

/// Reads the first page's fixed fields with plain file reads: what is no store of ours is not opened by SQLite at all.
fn check_header(path: &Path) -> Result<(), OpenError> {
    let corrupt = |detail: &str| OpenError::Corrupt { path: path.to_owned(), detail: detail.into() };
    let mut header = [0_u8; 100];
    let mut file = File::open(path).map_err(|e| io(path, "open", e))?;
    file.read_exact(&mut header).map_err(|e| {
        if e.kind() == ErrorKind::UnexpectedEof {
            corrupt("it is shorter than a database header")
        } else {
            io(path, "read", e)
        }
    })?;
    if &header[..16] != b"SQLite format 3\0" {
        return Err(corrupt("it is no SQLite database"));
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if number(68) != APPLICATION_ID {
        return Err(corrupt("it is the database of another program"));
    }
    match number(60) {
        found if found > FORMAT => {
            Err(OpenError::NewerFormat { path: path.to_owned(), found, supported: FORMAT })
        }
        0 => Err(corrupt("its format version is 0")),
        _ => Ok(()),
    }
}

/// A connection that cannot write. Without a log to replay the file is opened as immutable, which makes no files
/// beside it either.
fn open_for_reading(path: &Path) -> Result<Connection, OpenError> {
    let log = path.with_file_name(format!("{FILE_NAME}-wal"));
    let mode = if is_absent_or_empty(&log)? { "ro&immutable=1" } else { "ro" };
    let uri = format!("file:{}?mode={mode}", uri_path(path));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags).map_err(|e| io(path, "open", e))
}

/// Has SQLite walk every page.
fn check_pages(reader: &Connection) -> Result<(), String> {
    let verdict: rusqlite::Result<String> = reader.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(verdict) => Err(verdict),
        Err(error) => Err(error.to_string()),
    }
}

/// The path as a URI wants it: `%`, `?` and `#` escaped.
fn uri_path(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

fn open_for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -PAGE_CACHE_KIB)?;
    connection.pragma_update(None, "journal_size_limit", LOG_SIZE_MAX)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { resource: "/configmaps".into(), namespace: "default".into(), name: name.into() }
    }

    fn put(name: &str, revision: u64, text: &'static str) -> Write {
        Write { key: key(name), previous: 0, revision, value: Some(Bytes::from_static(text.as_bytes())) }
    }

    fn everything(store: &mut Embedded) -> (Vec<Entry>, Loaded) {
        let mut entries = Vec::new();
        let loaded = store
            .load(&mut |entry| {
                entries.push(entry);
                Ok(())
            })
            .expect("readable");
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        (entries, loaded)
    }

    #[test]
    fn what_was_committed_is_there_after_reopening_with_the_same_uid() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Embedded::open(dir.path(), "first").unwrap();
        everything(&mut store);
        store.commit(&[put("a", 2, "one"), put("b", 3, "two")], 3).unwrap();
        let removal = Write { key: key("a"), previous: 2, revision: 4, value: None };
        store.commit(&[removal, put("b", 5, "three")], 5).unwrap();
        drop(store);
        let (entries, loaded) = everything(&mut Embedded::open(dir.path(), "second").unwrap());
        assert_eq!(entries, [Entry { key: key("b"), revision: 5, value: Bytes::from_static(b"three") }]);
        assert_eq!(loaded, Loaded { cluster_uid: "first".into(), revision: 5 });
    }

    #[test]
    fn a_second_process_is_refused_and_the_lock_goes_with_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path(), "u").unwrap();
        assert!(matches!(Embedded::open(dir.path(), "u"), Err(OpenError::InUse { .. })));
        drop(store);
        Embedded::open(dir.path(), "u").unwrap();
    }

    #[test]
    fn a_store_half_made_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("store.db.new"), b"SQLite form").unwrap();
        fs::write(dir.path().join("store.db"), b"").unwrap();
        let (entries, loaded) = everything(&mut Embedded::open(dir.path(), "u").unwrap());
        assert_eq!((entries.len(), loaded.cluster_uid.as_str()), (0, "u"));
    }
}
