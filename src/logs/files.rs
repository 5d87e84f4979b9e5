//! Log files by name: `N.log`, and what it has grown out of: `N.log.20060102-150405`, later with `.gz`, as the
//! kubelet names them (times in UTC).

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;

use super::Rotation;
use crate::time::WallTime;

const STAMP_FORMAT: &str = "%Y%m%d-%H%M%S";
const STAMP_BYTES: usize = "20060102-150405".len();

/// Ending of a compressed file that is not complete yet.
pub(crate) const UNFINISHED: &str = ".tmp";

/// The file of one log that is being written. There is one writer, and it says where it writes.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens or makes the file (0640), its directories (0755) and the link to it.
    pub(crate) fn open(path: &Path, link: Option<&Path>) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            make_dirs(dir)?;
        }
        let file = open_for_writing(path)?;
        if let Some(link) = link {
            make_link(path, link)?;
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// Bytes in the file now. A file that was removed is made anew; one that was truncated goes on from there.
    pub(crate) fn len(&mut self) -> io::Result<u64> {
        let metadata = self.file.metadata()?;
        if metadata.nlink() > 0 {
            return Ok(metadata.len());
        }
        *self = Self::open(&self.path, None)?;
        Ok(self.file.metadata()?.len())
    }

    /// Tells this file from others that have had its name.
    pub(crate) fn inode(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.ino())
    }

    /// Writes whole records at `base`, which is where the file ends (or where the same bytes stand already). When
    /// not all can be written, the file ends after the last record that was, and the records left out are counted.
    pub(crate) fn write(&self, base: u64, records: &[u8]) -> Result<(), Dropped> {
        let mut written = 0;
        while written < records.len() {
            match self.file.write_at(&records[written..], base + written as u64) {
                Ok(count) if count > 0 => written += count,
                Ok(_) => return Err(self.drop_rest(base, records, written, io::ErrorKind::WriteZero.into())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.drop_rest(base, records, written, error)),
            }
        }
        Ok(())
    }

    fn drop_rest(&self, base: u64, records: &[u8], written: usize, error: io::Error) -> Dropped {
        let kept = records[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        // Should this fail as well, the torn record stays; readers skip it.
        let _ = self.file.set_len(base + kept as u64);
        Dropped { records: newlines(&records[kept..]), error }
    }

    /// Gives the file its rotated name, begins a new one, and removes the oldest files beyond the limit. Names the
    /// files that may be compressed now: all but the newest.
    pub(crate) fn rotate(&mut self, now: WallTime, limit: Rotation) -> io::Result<Vec<PathBuf>> {
        let mut old = rotated(&self.path)?;
        let stamp = next_stamp(now, old.last().map(|file| file.stamp.as_str()));
        let name = with_suffix(&self.path, &format!(".{stamp}"));
        fs::rename(&self.path, &name)?;
        self.file = open_for_writing(&self.path)?;
        let excess = (old.len() + 2).saturating_sub(limit.max_files);
        for file in old.drain(..excess.min(old.len())) {
            file.remove()?;
        }
        Ok(old.into_iter().filter(|file| !file.compressed).map(|file| file.path).collect())
    }
}

/// Records that could not be written.
#[derive(Debug)]
pub(crate) struct Dropped {
    /// How many.
    pub(crate) records: u64,
    /// Why.
    pub(crate) error: io::Error,
}

pub(crate) fn newlines(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').skip(1).count() as u64
}

/// A file that is no longer written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// When its writing ended: `20060102-150405`. Unique within a log, and sorted by age.
    pub stamp: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is a gzip file.
    pub compressed: bool,
}

impl Rotated {
    fn remove(&self) -> io::Result<()> {
        let plain = if self.compressed { self.path.with_extension("") } else { self.path.clone() };
        for path in [with_suffix(&plain, ".gz"), plain] {
            absent_is_fine(fs::remove_file(path))?;
        }
        Ok(())
    }
}

/// The rotated files of a log, oldest first. A file that is there plain and compressed is listed plain.
pub fn rotated(log: &Path) -> io::Result<Vec<Rotated>> {
    let mut found = Vec::new();
    for_each_sibling(log, |path, suffix| {
        let (stamp, compressed) = match suffix.strip_suffix(".gz") {
            Some(stamp) => (stamp, true),
            None => (suffix, false),
        };
        if is_stamp(stamp) {
            found.push(Rotated { stamp: stamp.to_owned(), path, compressed });
        }
    })?;
    found.sort_by(|a, b| (&a.stamp, a.compressed).cmp(&(&b.stamp, b.compressed)));
    found.dedup_by(|later, earlier| later.stamp == earlier.stamp);
    Ok(found)
}

/// Removes a log with all its rotated files, and its link. What is not there is fine.
pub fn remove(log: &Path, link: Option<&Path>) -> io::Result<()> {
    if let Some(link) = link {
        absent_is_fine(fs::remove_file(link))?;
    }
    let mut files = vec![log.to_owned()];
    for_each_sibling(log, |path, suffix| {
        let suffix = suffix.strip_suffix(UNFINISHED).unwrap_or(suffix);
        if is_stamp(suffix.strip_suffix(".gz").unwrap_or(suffix)) {
            files.push(path);
        }
    })?;
    files.into_iter().try_for_each(|file| absent_is_fine(fs::remove_file(file)))
}

/// Removes the half-compressed files a log process left that was killed.
pub(crate) fn remove_unfinished(log: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for_each_sibling(log, |path, suffix| {
        if suffix.ends_with(UNFINISHED) {
            files.push(path);
        }
    })?;
    files.into_iter().try_for_each(|file| absent_is_fine(fs::remove_file(file)))
}

/// Calls `visit` with each file beside `log` that is named `<log>.<suffix>`.
fn for_each_sibling(log: &Path, mut visit: impl FnMut(PathBuf, &str)) -> io::Result<()> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(OsStr::to_str)) else {
        return Ok(());
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let sibling = entry.file_name();
        let suffix = sibling.to_str().and_then(|s| s.strip_prefix(name)).and_then(|s| s.strip_prefix('.'));
        if let Some(suffix) = suffix {
            visit(entry.path(), suffix);
        }
    }
    Ok(())
}

/// The stamp for a file rotated now: later than that of the newest, if need be by pretending a second more.
fn next_stamp(now: WallTime, newest: Option<&str>) -> String {
    let now = now.0.strftime(STAMP_FORMAT).to_string();
    let Some(newest) = newest.filter(|newest| **newest >= *now) else { return now };
    DateTime::strptime(STAMP_FORMAT, newest)
        .and_then(|time| time.checked_add(jiff::Span::new().seconds(1)))
        .map_or(now, |time| time.strftime(STAMP_FORMAT).to_string())
}

fn is_stamp(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() == STAMP_BYTES
        && text.split_once('-').is_some_and(|(d, t)| d.len() == 8 && digits(d) && digits(t))
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn open_for_writing(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(false).mode(0o640).open(path)
}

fn make_dirs(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

/// Makes `link` point to `target`; one that points elsewhere is replaced.
fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|there| there == target) {
        return Ok(());
    }
    if let Some(dir) = link.parent() {
        make_dirs(dir)?;
    }
    absent_is_fine(fs::remove_file(link))?;
    symlink(target, link)
}

pub(crate) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallTime {
        WallTime::parse(text).expect("a time")
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("readable");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("readable").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    #[test]
    fn rotation_keeps_the_newest_files_and_never_reuses_a_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let mut file = LogFile::open(&path, None).expect("opens");
        let limit = Rotation { max_bytes: 10, max_files: 3 };
        for round in 0..4 {
            file.write(0, format!("{round}\n").as_bytes()).expect("writes");
            file.rotate(at("2026-01-02T23:59:59Z"), limit).expect("rotates");
        }
        assert_eq!(names(dir.path()), ["0.log", "0.log.20260103-000001", "0.log.20260103-000002"]);
        let texts: Vec<_> = rotated(&path)
            .expect("lists")
            .iter()
            .map(|file| fs::read_to_string(&file.path).expect("readable"))
            .collect();
        assert_eq!(texts, ["2\n", "3\n"]);
    }

    #[test]
    fn rotation_names_what_may_be_compressed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let mut file = LogFile::open(&path, None).expect("opens");
        let first = file.rotate(at("2026-01-02T03:04:05Z"), Rotation::default()).expect("rotates");
        assert_eq!(first, Vec::<PathBuf>::new());
        let second = file.rotate(at("2026-01-02T03:05:05Z"), Rotation::default()).expect("rotates");
        assert_eq!(second, [dir.path().join("0.log.20260102-030405")]);
    }

    #[test]
    fn a_removed_file_is_made_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ns_pod_uid/main/0.log");
        let link = dir.path().join("containers/pod_ns_main-id.log");
        let mut file = LogFile::open(&path, Some(&link)).expect("opens");
        file.write(0, b"one\n").expect("writes");
        assert_eq!(fs::read_to_string(&link).expect("the link leads to the log"), "one\n");
        fs::remove_file(&path).expect("removable");
        let base = file.len().expect("opens again");
        file.write(base, b"two\n").expect("writes");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "two\n");
    }

    #[test]
    fn removing_a_log_takes_its_rotated_files_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in
            ["1.log", "1.log.20260102-030405.gz", "1.log.20260102-030406", "1.log.20260102-030407.gz.tmp"]
        {
            fs::write(dir.path().join(name), "").expect("writable");
        }
        for name in ["11.log", "1.log.bak", "0.log"] {
            fs::write(dir.path().join(name), "").expect("writable");
        }
        remove(&dir.path().join("1.log"), Some(&dir.path().join("no-link"))).expect("removes");
        assert_eq!(names(dir.path()), ["0.log", "1.log.bak", "11.log"]);
    }
}
