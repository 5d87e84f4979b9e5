//! Compresses rotated files, a slice at a time: the log process has one thread, and containers come first.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::files::{UNFINISHED, with_suffix};

/// Bytes compressed in one turn: a few milliseconds.
const SLICE_BYTES: usize = 64 * 1024;

/// Files waiting to be compressed, and the one that is.
#[derive(Debug, Default)]
pub(crate) struct Compressor {
    waiting: VecDeque<PathBuf>,
    current: Option<Job>,
}

#[derive(Debug)]
struct Job {
    path: PathBuf,
    source: File,
    encoder: GzEncoder<File>,
}

impl Compressor {
    /// Asks for files to be compressed.
    pub(crate) fn add(&mut self, files: Vec<PathBuf>) {
        for file in files {
            let known = self.current.as_ref().is_some_and(|job| job.path == file);
            if !known && !self.waiting.contains(&file) {
                self.waiting.push_back(file);
            }
        }
    }

    /// Whether there is anything to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none()
    }

    /// Does one slice. A file that cannot be compressed stays as it is.
    pub(crate) fn turn(&mut self) {
        let Some(mut job) = self.current.take().or_else(|| self.next()) else { return };
        match job.slice() {
            Ok(true) => {
                if let Err(error) = job.complete() {
                    tracing::warn!(%error, "a rotated log could not be compressed");
                }
            }
            Ok(false) => self.current = Some(job),
            Err(error) => {
                let _ = fs::remove_file(job.unfinished());
                tracing::warn!(%error, file = %job.path.display(), "a rotated log could not be compressed");
            }
        }
    }

    /// The next file that is still there.
    fn next(&mut self) -> Option<Job> {
        while let Some(path) = self.waiting.pop_front() {
            match Job::start(path) {
                Ok(job) => return Some(job),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(%error, "a rotated log could not be compressed"),
            }
        }
        None
    }
}

impl Job {
    fn start(path: PathBuf) -> io::Result<Self> {
        let source = File::open(&path)?;
        let target = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(with_suffix(&path, &format!(".gz{UNFINISHED}")))?;
        Ok(Self { path, source, encoder: GzEncoder::new(target, Compression::default()) })
    }

    fn unfinished(&self) -> PathBuf {
        with_suffix(&self.path, &format!(".gz{UNFINISHED}"))
    }

    /// Whether the end is reached.
    fn slice(&mut self) -> io::Result<bool> {
        let mut slice = Vec::with_capacity(SLICE_BYTES);
        (&mut self.source).take(SLICE_BYTES as u64).read_to_end(&mut slice)?;
        self.encoder.write_all(&slice)?;
        Ok(slice.len() < SLICE_BYTES)
    }

    /// The compressed file gets its name before the plain one goes: readers find one of them at any time. When the
    /// plain one has been removed meanwhile, the log is unwanted.
    fn complete(self) -> io::Result<()> {
        let unfinished = self.unfinished();
        let target = self.encoder.finish()?;
        target.set_modified(self.source.metadata()?.modified()?)?;
        if !self.path.try_exists()? {
            return fs::remove_file(unfinished);
        }
        fs::rename(unfinished, with_suffix(&self.path, ".gz"))?;
        fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_becomes_a_gzip_file_of_the_same_text() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log.20260102-030405");
        let text = "2026-01-02T03:04:05.0Z stdout F a line\n".repeat(40_000);
        fs::write(&path, &text).expect("writable");
        let mut compressor = Compressor::default();
        compressor.add(vec![dir.path().join("gone"), path.clone()]);
        compressor.add(vec![path.clone()]);
        while !compressor.is_idle() {
            compressor.turn();
        }
        let names: Vec<_> =
            fs::read_dir(dir.path()).expect("readable").map(|e| e.expect("readable").path()).collect();
        assert_eq!(names, [with_suffix(&path, ".gz")]);
        let mut back = String::new();
        flate2::read::GzDecoder::new(File::open(&names[0]).expect("opens"))
            .read_to_string(&mut back)
            .expect("gzip");
        assert_eq!(back, text);
    }
}
