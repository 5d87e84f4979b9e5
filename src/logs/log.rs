//! One container's log, as the log process writes it.

use std::fs::File;
use std::io;
use std::path::Path;

use super::Clock;
use super::compress::Compressor;
use super::control::{Counts, Open};
use super::files::{LogFile, newlines, remove_unfinished};
use super::format::{RECORD_OVERHEAD_BYTES, Stream, append_record, cut, cut_unfinished, stamp};
use super::journal::{Batch, Journal};
use super::pipe::{self, Peeker};
use super::writer::taps::Taps;
use crate::time::WallTime;

/// Most bytes of records written in one turn.
const BATCH_BYTES: u64 = 256 * 1024;

/// Most bytes drained when a log is closed. Something that outlived its container and still writes must not hold the
/// log process for ever.
const DRAIN_BYTES: usize = 16 << 20;

/// What every log needs of the log process.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) clock: Clock,
    pub(crate) peeker: Peeker,
    pub(crate) journal: Journal,
    pub(crate) compressor: Compressor,
    pub(crate) taps: Taps,
    /// Records being made; kept for its memory.
    pub(crate) records: Vec<u8>,
}

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) spec: Open,
    pub(crate) counts: Counts,
    /// None while it cannot be opened.
    file: Option<LogFile>,
    stdout: Fifo,
    stderr: Option<Fifo>,
    /// A disk that stays full is reported once.
    complained: bool,
}

/// One of a log's FIFOs.
#[derive(Debug)]
struct Fifo {
    file: File,
    /// Opened for reading alone: the log is to be closed when the last writer has gone.
    ending: bool,
    /// It has, and all is read.
    ended: bool,
    /// Bytes at its front that the taps have been told.
    told: usize,
}

impl Fifo {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: pipe::open(path)?, ending: false, ended: false, told: 0 })
    }

    /// Lets go of our own writing end. A FIFO that is not there any more has nobody who writes.
    fn end(&mut self, path: &Path) {
        self.ending = true;
        match pipe::open_reader(path) {
            Ok(reader) => self.file = reader,
            Err(_) => self.ended = true,
        }
    }
}

/// How far a turn got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Took this many bytes; there may be more.
    Took(usize),
    /// Nothing to take until the FIFO changes.
    Idle,
}

/// How a FIFO's content was made into records.
struct Composed {
    taken: usize,
    /// The log file has no room for the next record.
    no_room: bool,
}

impl Log {
    /// Opens the FIFOs, which must be there, and the log file, which may have to wait.
    pub(crate) fn open(spec: Open) -> io::Result<Self> {
        let stdout = Fifo::open(&spec.stdout)?;
        let stderr = spec.stderr.as_deref().map(Fifo::open).transpose()?;
        let mut log = Self { spec, counts: Counts::default(), file: None, stdout, stderr, complained: false };
        if let Err(error) = log.file() {
            log.complain(&error);
        }
        // Only left by a log process that was killed; none of its reading is harmed when they stay.
        let _ = remove_unfinished(&log.spec.log);
        Ok(log)
    }

    /// What the taps have been told of lines that are not ended yet, and of what else waits in the FIFOs: all of it.
    pub(crate) fn unfinished(&mut self, tools: &mut Tools) -> Vec<(Stream, Vec<u8>)> {
        let mut all = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let id = self.spec.id.clone();
            let Some(fifo) = self.fifo(stream) else { continue };
            let Ok(peek) = tools.peeker.peek(&fifo.file, !fifo.ending) else { continue };
            tools.taps.tell(&id, stream, peek.output.get(fifo.told..).unwrap_or_default());
            fifo.told = peek.output.len();
            all.push((stream, peek.output.to_vec()));
        }
        all
    }

    /// The FIFOs it has.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (Stream, &File)> {
        let stderr = self.stderr.as_ref().map(|fifo| (Stream::Stderr, &fifo.file));
        std::iter::once((Stream::Stdout, &self.stdout.file)).chain(stderr)
    }

    /// Waits from now on for the last writers to go. False if it does so already.
    pub(crate) fn end(&mut self) -> bool {
        if self.stdout.ending {
            return false;
        }
        self.stdout.end(&self.spec.stdout);
        if let (Some(fifo), Some(path)) = (&mut self.stderr, &self.spec.stderr) {
            fifo.end(path);
        }
        true
    }

    /// Whether all has been read that will ever come; known once [`Self::end`] was called.
    pub(crate) fn has_ended(&self) -> bool {
        self.stdout.ended && self.stderr.as_ref().is_none_or(|fifo| fifo.ended)
    }

    fn fifo(&mut self, stream: Stream) -> Option<&mut Fifo> {
        match stream {
            Stream::Stdout => Some(&mut self.stdout),
            Stream::Stderr => self.stderr.as_mut(),
        }
    }

    fn file(&mut self) -> io::Result<&mut LogFile> {
        if self.file.is_none() {
            self.file = Some(LogFile::open(&self.spec.log, self.spec.link.as_deref())?);
        }
        Ok(self.file.as_mut().expect("it was opened above"))
    }

    fn complain(&mut self, error: &io::Error) {
        if !self.complained {
            self.complained = true;
            tracing::warn!(container = self.spec.id, log = %self.spec.log.display(), %error,
                "a container's output is being lost");
        }
    }

    /// Writes some of what a stream holds.
    pub(crate) fn turn(&mut self, stream: Stream, tools: &mut Tools, draining: bool) -> io::Result<Turn> {
        let fifo = match stream {
            Stream::Stdout => Some(&mut self.stdout),
            Stream::Stderr => self.stderr.as_mut(),
        };
        let Some(fifo) = fifo else { return Ok(Turn::Idle) };
        // Asked before looking: what was written before the end is seen.
        let ended = fifo.ending && pipe::has_ended(&fifo.file)?;
        let peek = tools.peeker.peek(&fifo.file, !fifo.ending)?;
        tools.taps.tell(&self.spec.id, stream, peek.output.get(fifo.told..).unwrap_or_default());
        fifo.told = peek.output.len();
        if peek.output.is_empty() {
            fifo.ended |= ended;
            return Ok(Turn::Idle);
        }
        let unfinished =
            if draining || ended || peek.crowded { Unfinished::GoesAlone } else { Unfinished::Waits };
        let output = Output { stream, bytes: peek.output, now: (tools.clock)(), unfinished };
        match self.plan(&output, &mut tools.records, &mut tools.compressor) {
            Ok(batch) if batch.taken == 0 => Ok(Turn::Idle),
            Ok(batch) => self.take(&batch, &output, &mut tools.records, &tools.journal),
            Err(error) => {
                self.complain(&error);
                let fifo = self.fifo(stream).expect("it was there above");
                pipe::discard(&fifo.file, output.bytes.len())?;
                fifo.told = 0;
                self.counts.dropped_count += newlines(output.bytes);
                Ok(Turn::Took(output.bytes.len()))
            }
        }
    }

    /// Makes records, and finds where they go: a new file if this one has no room.
    fn plan(
        &mut self,
        output: &Output<'_>,
        records: &mut Vec<u8>,
        compressor: &mut Compressor,
    ) -> io::Result<Batch> {
        let mut base = self.file()?.len()?;
        let max = self.spec.rotation.max_bytes;
        let stamp = stamp(output.now);
        let mut make = |limit: u64| compose(records, output, &stamp, limit.min(BATCH_BYTES));
        let mut composed = make(max.saturating_sub(base));
        if composed.no_room && base > 0 {
            base = self.rotate(compressor, output.now, base);
            composed = make(max.saturating_sub(base));
        }
        if composed.no_room {
            // Longer than a file may be, or no new file could be made: too long is better than lost.
            composed = make(BATCH_BYTES);
        }
        let inode = self.file()?.inode()?;
        let id = self.spec.id.clone();
        Ok(Batch { id, stream: output.stream, inode, base, stamp, taken: composed.taken })
    }

    /// Takes the batch out of the FIFO, into the log file.
    fn take(
        &mut self,
        batch: &Batch,
        output: &Output<'_>,
        records: &mut Vec<u8>,
        journal: &Journal,
    ) -> io::Result<Turn> {
        let fifo = &self.fifo(batch.stream).expect("its output was seen").file;
        let moved =
            if let Ok(moved) = journal.announce(batch).and_then(|()| journal.fill(fifo, 0, batch.taken)) {
                moved
            } else {
                // There is no room for the journal either: go without.
                pipe::discard(fifo, batch.taken)?;
                batch.taken
            };
        if moved < batch.taken {
            let moved = Output { bytes: &output.bytes[..moved], unfinished: Unfinished::Goes, ..*output };
            compose(records, &moved, &batch.stamp, u64::MAX);
        }
        self.write(batch.base, records);
        journal.finish()?;
        let fifo = self.fifo(batch.stream).expect("its output was seen");
        fifo.told = fifo.told.saturating_sub(moved);
        Ok(if moved > 0 { Turn::Took(moved) } else { Turn::Idle })
    }

    fn write(&mut self, base: u64, records: &[u8]) {
        let count = newlines(records);
        let Some(file) = &self.file else { return };
        let dropped = match file.write(base, records) {
            Ok(()) => {
                self.complained = false;
                0
            }
            Err(dropped) => {
                self.complain(&dropped.error);
                dropped.records
            }
        };
        self.counts.written_count += count - dropped;
        self.counts.dropped_count += dropped;
    }

    /// Begins a new file; answers where the next record goes.
    fn rotate(&mut self, compressor: &mut Compressor, now: WallTime, base: u64) -> u64 {
        let limit = self.spec.rotation;
        let rotated = self.file().and_then(|file| {
            let compressible = file.rotate(now, limit)?;
            compressor.add(compressible);
            file.len()
        });
        rotated.unwrap_or_else(|error| {
            if !self.complained {
                self.complained = true;
                tracing::warn!(container = self.spec.id, %error, "a log could not be rotated");
            }
            base
        })
    }

    /// Finishes what a killed log process had begun.
    pub(crate) fn finish(&mut self, batch: &Batch, mut raw: Vec<u8>, tools: &mut Tools) -> io::Result<()> {
        if let Some(fifo) = self.fifo(batch.stream) {
            let from = raw.len();
            let to = tools.journal.fill(&fifo.file, from, batch.taken)?;
            raw.extend(tools.journal.moved(from, to)?);
        }
        let now = (tools.clock)();
        let output = Output { stream: batch.stream, bytes: &raw, now, unfinished: Unfinished::Goes };
        compose(&mut tools.records, &output, &batch.stamp, u64::MAX);
        let file = self.file()?;
        let same = file.inode()? == batch.inode && file.len()? >= batch.base;
        let base = if same { batch.base } else { file.len()? };
        self.write(base, &tools.records);
        tools.journal.finish()
    }

    /// Writes all that the FIFOs hold, an unfinished last line included.
    pub(crate) fn drain(&mut self, tools: &mut Tools) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut drained = 0;
            while drained < DRAIN_BYTES
                && let Turn::Took(bytes) = self.turn(stream, tools, true)?
            {
                drained += bytes;
            }
        }
        Ok(())
    }
}

/// What becomes of a line's beginning whose end has not come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unfinished {
    /// It waits in the FIFO.
    Waits,
    /// It is a record if nothing stands before it.
    GoesAlone,
    /// It is a record.
    Goes,
}

/// What a stream has put out.
#[derive(Clone, Copy)]
struct Output<'a> {
    stream: Stream,
    bytes: &'a [u8],
    /// When it was seen.
    now: WallTime,
    unfinished: Unfinished,
}

/// Makes records of as much output as fits into `limit` bytes of them.
fn compose(records: &mut Vec<u8>, output: &Output<'_>, stamp: &str, limit: u64) -> Composed {
    records.clear();
    let mut taken = 0;
    loop {
        let rest = &output.bytes[taken..];
        let goes = match output.unfinished {
            Unfinished::Waits => false,
            Unfinished::GoesAlone => taken == 0,
            Unfinished::Goes => true,
        };
        let piece = cut(rest).or_else(|| if goes { cut_unfinished(rest) } else { None });
        let Some(piece) = piece else { return Composed { taken, no_room: false } };
        if (records.len() + piece.text + RECORD_OVERHEAD_BYTES) as u64 > limit {
            return Composed { taken, no_room: taken == 0 };
        }
        append_record(records, stamp, output.stream, piece, rest);
        taken += piece.taken;
    }
}
