//! Directories whose files change all at once: what configMap, secret, downwardAPI and projected volumes are.
//!
//! ```text
//! key    -> ..data/key        what containers open
//! ..data -> ..2               swapped by one rename
//! ..2/key                     the files themselves
//! ```
//!
//! A reader that goes through `..data` sees the old files or the new ones, never some of both; whoever watches `..data`
//! hears of every change. The names and links are upstream's, because programs rely on them. Unlike upstream's, the
//! version before stays, hidden, until the next write: a reader between reading the link and opening the file finds it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::agent::files::{File, Files};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";
/// With a group of the Pod's own, that group may read files and enter directories.
const GROUP_READS: u32 = 0o440;
const GROUP_ENTERS: u32 = 0o2550;

/// Whether [`write`] changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Other files are visible now.
    Changed,
    /// The directory had these files already.
    Unchanged,
}

/// Makes `files` the contents of `dir`, which exists and is written by nobody else. `group` is the Pod's `fsGroup`.
pub fn write(dir: &Path, files: &Files, group: Option<u32>) -> io::Result<Written> {
    let current = fs::read_link(dir.join(DATA)).ok();
    remove_remains(dir, current.as_deref())?;
    if current.as_ref().is_some_and(|name| holds(&dir.join(name), files, group)) {
        make_links(dir, files)?;
        return Ok(Written::Unchanged);
    }
    let next = next_name(current.as_deref());
    fill(&dir.join(&next), files, group)?;
    symlink(&next, dir.join(NEW_DATA))?;
    fs::rename(dir.join(NEW_DATA), dir.join(DATA))?;
    make_links(dir, files)?;
    Ok(Written::Changed)
}

/// What an interrupted write has left, and the version before the current one.
fn remove_remains(dir: &Path, current: Option<&Path>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with("..");
        if !hidden || name == DATA || current.is_some_and(|current| current == Path::new(&name)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn holds(dir: &Path, files: &Files, group: Option<u32>) -> bool {
    let same = |(path, file): (&String, &File)| {
        let path = dir.join(path);
        let mode = || fs::symlink_metadata(&path).map(|found| found.permissions().mode() & 0o777);
        fs::read(&path).is_ok_and(|had| had == file.bytes)
            && mode().is_ok_and(|had| had == file_mode(file, group))
    };
    files.iter().all(same) && count_files(dir).is_ok_and(|count| count == files.len())
}

fn count_files(dir: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

/// Counts up, so that no name comes back while a reader may still hold it.
fn next_name(current: Option<&Path>) -> String {
    let number = current.and_then(Path::to_str).and_then(|name| name.strip_prefix("..")?.parse::<u64>().ok());
    format!("..{}", number.unwrap_or(0).wrapping_add(1))
}

fn fill(dir: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    make_dir(dir, group)?;
    for (path, file) in files {
        let whole = dir.join(path);
        let above: Vec<_> = whole.ancestors().skip(1).take_while(|above| *above != dir).collect();
        for above in above.into_iter().rev().filter(|above| !above.is_dir()) {
            make_dir(above, group)?;
        }
        fs::write(&whole, &file.bytes)?;
        chown(&whole, file.owner, group)?;
        fs::set_permissions(&whole, Permissions::from_mode(file_mode(file, group)))?;
    }
    Ok(())
}

fn file_mode(file: &File, group: Option<u32>) -> u32 {
    file.mode | group.map_or(0, |_| GROUP_READS)
}

fn make_dir(dir: &Path, group: Option<u32>) -> io::Result<()> {
    fs::create_dir(dir)?;
    chown(dir, None, group)?;
    fs::set_permissions(dir, Permissions::from_mode(0o755 | group.map_or(0, |_| GROUP_ENTERS)))
}

/// One link per first part of a path; links to what is no longer there go.
fn make_links(dir: &Path, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<OsString> = files
        .keys()
        .filter_map(|path| Some(PathBuf::from(path.split('/').next()?).into_os_string()))
        .collect();
    for name in &wanted {
        match symlink(Path::new(DATA).join(name), dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        // A subPath that named nothing has become a directory here: not a link, not ours to remove.
        let is_link = entry.file_type()?.is_symlink();
        if is_link && !wanted.contains(&name) && !name.to_string_lossy().starts_with("..") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::volumes::tests::EndsOnDrop;

    fn files(list: &[(&str, &str)]) -> Files {
        let file = |text: &str| File { mode: 0o644, bytes: text.as_bytes().to_vec(), owner: None };
        list.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn listed(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn keys_appear_change_and_vanish_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(
            write(dir, &files(&[("a", "1"), ("d/x", "2"), ("d/y", "3")]), None).unwrap(),
            Written::Changed
        );
        assert_eq!(fs::read_to_string(dir.join("d/y")).unwrap(), "3");
        assert_eq!(
            write(dir, &files(&[("a", "1"), ("d/x", "2"), ("d/y", "3")]), None).unwrap(),
            Written::Unchanged
        );
        assert_eq!(write(dir, &files(&[("a", "9"), ("b", "4")]), None).unwrap(), Written::Changed);
        assert_eq!(listed(dir), ["..1", "..2", "..data", "a", "b"]);
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "9");
        assert_eq!(write(dir, &files(&[("b", "4")]), None).unwrap(), Written::Changed);
        assert_eq!(write(dir, &Files::new(), None).unwrap(), Written::Changed);
        assert_eq!(listed(dir), ["..3", "..4", "..data"]);
        assert_eq!(write(dir, &Files::new(), None).unwrap(), Written::Unchanged);
        assert_eq!(listed(dir), ["..4", "..data"]);
    }

    #[test]
    fn modes_owners_and_the_pods_group_are_set_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = files(&[("d/token", "t")]);
        files.get_mut("d/token").unwrap().mode = 0o600;
        files.get_mut("d/token").unwrap().owner = Some(1000);
        write(dir.path(), &files, Some(2000)).unwrap();
        let token = fs::metadata(dir.path().join("d/token")).unwrap();
        assert_eq!((token.mode() & 0o7777, token.uid(), token.gid()), (0o640, 1000, 2000));
        let above = fs::metadata(dir.path().join("d")).unwrap();
        assert_eq!((above.mode() & 0o7777, above.gid()), (0o2755, 2000));
        assert_eq!(write(dir.path(), &files, Some(2000)).unwrap(), Written::Unchanged);
    }

    #[test]
    fn an_interrupted_write_is_cleaned_up_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, &files(&[("a", "1")]), None).unwrap();
        fs::create_dir(dir.join("..2")).unwrap();
        fs::write(dir.join("..2/half"), "x").unwrap();
        symlink("..2", dir.join(NEW_DATA)).unwrap();
        write(dir, &files(&[("a", "2")]), None).unwrap();
        assert_eq!(listed(dir), ["..1", "..2", "..data", "a"]);
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "2");
    }

    #[test]
    fn a_reader_never_sees_a_mixture() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let both = |text: &str| files(&[("a", text), ("b", text)]);
        write(dir, &both("0"), None).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = BTreeSet::new();
                while !done.load(Ordering::Relaxed) {
                    // The directory is held open, as a program does that wants one version.
                    let Ok(held) = fs::File::open(dir.join(DATA)) else { continue };
                    let path = |name: &str| {
                        use std::os::fd::AsRawFd;
                        format!("/proc/self/fd/{}/{name}", held.as_raw_fd())
                    };
                    let pair = (fs::read_to_string(path("a")), fs::read_to_string(path("b")));
                    // A version that two writes have left behind has no files any more.
                    if let (Ok(a), Ok(b)) = pair {
                        assert_eq!(a, b);
                        seen.insert(a);
                    }
                }
                seen
            });
            let end = EndsOnDrop(&done);
            for version in 1..400 {
                write(dir, &both(&version.to_string()), None).unwrap();
                assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), version.to_string());
            }
            drop(end);
            assert!(reader.join().unwrap().len() > 1, "the reader saw changes");
        });
    }
}
