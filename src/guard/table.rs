//! The guard's table on disk (in `/run`, which a reboot empties): one frame per Pod, rewritten in place.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::frame::{Frame, FrameError, SIZE};
use super::message::{entry, entry_frame};
use crate::lease::fence::watch::{Entry, Watch};

/// The open file, and which line is whose.
#[derive(Debug)]
pub struct Table {
    file: File,
    lines: BTreeMap<String, (u64, Entry)>,
    free: Vec<u64>,
    end: u64,
}

impl Table {
    /// Opens it, or begins an empty one. A line that cannot be read is left, told of in the second place of the
    /// answer, and never used again: what it said is lost, and somebody has to look.
    pub fn open(path: &Path) -> io::Result<(Self, usize)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut table = Self { file, lines: BTreeMap::new(), free: Vec::new(), end: 0 };
        let length = table.file.metadata()?.len();
        let mut damaged_count = 0;
        while (table.end + 1) * SIZE as u64 <= length {
            let line = table.end;
            table.end += 1;
            let mut bytes = [0; SIZE];
            table.file.read_exact_at(&mut bytes, line * SIZE as u64)?;
            match read(&bytes) {
                Ok(Some(entry)) => drop(table.lines.insert(entry.charge.uid.clone(), (line, entry))),
                Ok(None) => table.free.push(line),
                Err(_) => damaged_count += 1,
            }
        }
        Ok((table, damaged_count))
    }

    /// What it holds.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.values().map(|(_, entry)| entry)
    }

    /// Makes it say what the guard knows: writes the lines that differ.
    pub fn keep(&mut self, watch: &Watch) -> io::Result<()> {
        let gone: Vec<String> = self.lines.keys().filter(|uid| watch.get(uid).is_none()).cloned().collect();
        for uid in gone {
            let Some((line, _)) = self.lines.remove(&uid) else { continue };
            self.free.push(line);
            self.file.write_all_at(&[0; SIZE], line * SIZE as u64)?;
        }
        for entry in watch.entries() {
            let known = self.lines.get(&entry.charge.uid);
            if known.is_some_and(|(_, known)| known == entry) {
                continue;
            }
            let line = known.map(|(line, _)| *line).or_else(|| self.free.pop()).unwrap_or_else(|| {
                self.end += 1;
                self.end - 1
            });
            let bytes = entry_frame(entry).encode().map_err(io::Error::other)?;
            self.file.write_all_at(&bytes, line * SIZE as u64)?;
            self.lines.insert(entry.charge.uid.clone(), (line, entry.clone()));
        }
        Ok(())
    }
}

/// The UIDs in the table of a guard, living or dead.
pub fn uids(path: &Path) -> io::Result<Vec<String>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let (lines, _) = bytes.as_chunks::<SIZE>();
    Ok(lines.iter().filter_map(|line| Some(read(line).ok()??.charge.uid)).collect())
}

fn read(bytes: &[u8; SIZE]) -> Result<Option<Entry>, FrameError> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    entry(Frame::decode(bytes)?).map(Some)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lease::fence::FenceLevel;
    use crate::lease::fence::watch::Charge;
    use crate::time::Instant;

    fn charge(uid: &str) -> Charge {
        Charge {
            uid: uid.to_owned(),
            dir: String::new(),
            session: 1,
            deadline: Instant::from_boot(Duration::from_secs(10)),
            margin: Duration::from_secs(3),
            level: FenceLevel::Kill,
        }
    }

    #[test]
    fn a_later_guard_finds_what_an_earlier_one_kept_and_a_damaged_line_harms_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        let start = Instant::default();
        let mut watch = Watch::default();
        for uid in ["a", "b", "c"] {
            watch.arm(charge(uid), start).unwrap();
        }
        let (mut table, damaged) = Table::open(&path).unwrap();
        assert_eq!(damaged, 0);
        table.keep(&watch).unwrap();
        watch.disarm("b", start).unwrap();
        watch.fence(Some("c"), start);
        table.keep(&watch).unwrap();
        watch.arm(charge("d"), start).unwrap();
        table.keep(&watch).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 3 * SIZE as u64, "b's line is d's now");

        let (again, damaged) = Table::open(&path).unwrap();
        assert_eq!((Watch::recall(again.entries().cloned()), damaged), (watch.clone(), 0));
        assert_eq!(uids(&path).unwrap(), ["a", "d", "c"]);

        table.file.write_all_at(b"?", 100).unwrap();
        let (mut again, damaged) = Table::open(&path).unwrap();
        assert_eq!(damaged, 1);
        assert_eq!(again.entries().map(|entry| entry.charge.uid.as_str()).collect::<Vec<_>>(), ["c", "d"]);
        again.keep(&watch).unwrap();
        assert_eq!(Table::open(&path).unwrap().0.entries().count(), 3);
    }
}
