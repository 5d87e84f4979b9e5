//! The files of one log, opened together.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use flate2::read::GzDecoder;

use super::super::files::{Rotated, rotated};

/// Tries to see a log's files while none is rotated, compressed or removed.
const TRIES: usize = 20;

/// Bytes by which a compressed file is known to be one that was seen before: time and text of its first record.
const HEAD_BYTES: usize = 256;

/// One file, being read.
#[derive(Debug)]
pub(super) enum Source {
    /// As it was written.
    Plain(File),
    /// Compressed after rotation.
    Compressed(Box<GzDecoder<File>>),
}

impl Source {
    pub(super) fn open(file: &Rotated) -> io::Result<Self> {
        let opened = File::open(&file.path)?;
        Ok(if file.compressed { Self::compressed(opened) } else { Self::Plain(opened) })
    }

    fn compressed(file: File) -> Self {
        Self::Compressed(Box::new(GzDecoder::new(file)))
    }

    /// From the beginning again.
    pub(super) fn rewound(self) -> io::Result<Self> {
        match self {
            Self::Plain(mut file) => file.rewind().map(|()| Self::Plain(file)),
            Self::Compressed(decoder) => {
                let mut file = decoder.into_inner();
                file.rewind()?;
                Ok(Self::compressed(file))
            }
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Compressed(decoder) => decoder.read(buffer),
        }
    }
}

/// The file being written, and what is needed to know it again when it has been rotated.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) file: File,
    inode: u64,
    /// The newest rotated file when this one was opened; this one's stamp will be later.
    newest: Option<String>,
}

/// All files of a log as they were at one instant: oldest first, without the current one.
pub(super) struct Files {
    pub(super) rotated: Vec<(Rotated, Source)>,
    pub(super) current: Current,
}

impl Files {
    /// Opens them all.
    pub(super) fn open(log: &Path) -> io::Result<Self> {
        Self::open_where(log, |files| files)
    }

    /// Opens those that have come after `last`, or none if it is still the current one.
    pub(super) fn open_after(log: &Path, last: &Current) -> io::Result<Option<Self>> {
        match std::fs::metadata(log) {
            Ok(metadata) if metadata.ino() == last.inode => Ok(None),
            // Renamed already and not yet made anew, or removed for good.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Self::open_where(log, |files| last.followers(files)).map(Some),
        }
    }

    fn open_where(log: &Path, choose: impl Fn(Vec<Rotated>) -> Vec<Rotated>) -> io::Result<Self> {
        let mut failure = None;
        for _ in 0..TRIES {
            match Self::try_open(log, &choose) {
                Ok(Some(files)) => return Ok(files),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::other("the log is rotated faster than it can be read")))
    }

    /// None when the log was rotated in between.
    fn try_open(log: &Path, choose: impl Fn(Vec<Rotated>) -> Vec<Rotated>) -> io::Result<Option<Self>> {
        let file = File::open(log)?;
        let inode = file.metadata()?.ino();
        let files = rotated(log)?;
        let newest = files.last().map(|file| file.stamp.clone());
        let rotated: Vec<_> = choose(files)
            .into_iter()
            .map(|file| Source::open(&file).map(|source| (file, source)))
            .collect::<io::Result<_>>()?;
        let overtaken = std::fs::metadata(log)?.ino() != inode;
        Ok((!overtaken).then_some(Self { rotated, current: Current { file, inode, newest } }))
    }
}

impl Current {
    /// Of a log's rotated files, those later than this one, which has become one of them or is gone.
    fn followers(&self, files: Vec<Rotated>) -> Vec<Rotated> {
        let mut later: Vec<_> =
            files.into_iter().filter(|file| Some(&file.stamp) > self.newest.as_ref()).collect();
        if let Some(own) = later.iter().position(|file| self.is(file)) {
            later.drain(..=own);
        }
        later
    }

    fn is(&self, file: &Rotated) -> bool {
        if !file.compressed {
            return std::fs::metadata(&file.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        }
        let mut own = [0; HEAD_BYTES];
        let mut its = Vec::with_capacity(HEAD_BYTES);
        let Ok(length) = self.file.read_at(&mut own, 0) else { return false };
        let Ok(source) = Source::open(file) else { return false };
        source.take(HEAD_BYTES as u64).read_to_end(&mut its).is_ok()
            && !its.is_empty()
            && its == own[..length]
    }
}
