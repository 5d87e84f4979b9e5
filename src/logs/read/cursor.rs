//! A place in a log, moving forward.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::SystemTime;

use bytes::Bytes;

use super::super::format::{MAX_LINE_BYTES, RECORD_OVERHEAD_BYTES, Record, Stream, stamp};
use super::Options;
use super::source::{Current, Files, Source};
use super::tail::Tail;
use crate::time::WallTime;

/// Bytes of file read in one step.
const CHUNK_BYTES: usize = 64 * 1024;

/// Anything longer without a newline is no record of ours and is skipped.
const MAX_RECORD_BYTES: usize = 2 * (MAX_LINE_BYTES + RECORD_OVERHEAD_BYTES);

/// What a step found.
#[derive(Debug)]
pub(super) enum Step {
    /// Text for the reader.
    Output(Bytes),
    /// All there is has been read.
    CaughtUp,
    /// As much as was asked for has been read.
    Finished,
}

/// Reads one log.
#[derive(Debug)]
pub(super) struct Cursor {
    log: PathBuf,
    /// Files that are no longer written, oldest first.
    rotated: VecDeque<Source>,
    current: Current,
    /// Bytes of the file being read that make no record yet.
    pending: Vec<u8>,
    filter: Filter,
}

impl Cursor {
    /// Opens a log at the place that the options name.
    pub(super) fn open(log: PathBuf, options: &Options) -> io::Result<Self> {
        let Files { mut rotated, mut current } = Files::open(&log)?;
        if let Some(since) = options.since {
            let since = SystemTime::from(since.0);
            rotated.retain(|(_, source)| !written_before(source, since));
        }
        let mut sources: VecDeque<_> = rotated.into_iter().map(|(_, source)| source).collect();
        let mut filter = Filter::new(options);
        if let Some(lines) = options.tail_lines {
            (sources, filter.surplus) = cut_to_tail(sources, &mut current, Tail::new(lines, options.stream))?;
        }
        Ok(Self { log, rotated: sources, current, pending: Vec::new(), filter })
    }

    /// Reads on until there is something to say.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let mut output = Vec::new();
        while output.is_empty() {
            if self.filter.left == 0 {
                return Ok(Step::Finished);
            }
            let old = self.rotated.front_mut();
            let count = match old {
                Some(source) => read_chunk(source, &mut self.pending)?,
                None => read_chunk(&mut self.current.file, &mut self.pending)?,
            };
            if count == 0 && !self.next_file()? {
                return Ok(Step::CaughtUp);
            }
            self.consume(&mut output);
        }
        Ok(Step::Output(output.into()))
    }

    /// At the end of a file: goes to the next. False if there is none.
    fn next_file(&mut self) -> io::Result<bool> {
        if self.rotated.pop_front().is_some() {
            self.pending.clear();
            return Ok(true);
        }
        if let Some(Files { rotated, current }) = Files::open_after(&self.log, &self.current)? {
            let last = std::mem::replace(&mut self.current, current);
            // Something may have been written to it before it was rotated, after we came to its end.
            self.rotated.push_back(Source::Plain(last.file));
            self.rotated.extend(rotated.into_iter().map(|(_, source)| source));
            return Ok(true);
        }
        self.truncated()
    }

    /// The file is shorter than what was read of it: its last record was torn by a full disk and taken back, or
    /// somebody emptied the file.
    fn truncated(&mut self) -> io::Result<bool> {
        let file = &mut self.current.file;
        let (length, place) = (file.metadata()?.len(), file.stream_position()?);
        if length >= place {
            return Ok(false);
        }
        let consumed = place - self.pending.len() as u64;
        self.pending.clear();
        file.seek(SeekFrom::Start(if length >= consumed { consumed } else { 0 })).map(|_| true)
    }

    fn consume(&mut self, output: &mut Vec<u8>) {
        let end = self.pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        for line in self.pending[..end].split_inclusive(|byte| *byte == b'\n') {
            if let Some(record) = Record::parse(&line[..line.len() - 1]) {
                self.filter.pass(&record, output);
            }
        }
        self.pending.drain(..end);
        if self.pending.len() > MAX_RECORD_BYTES {
            self.pending.clear();
        }
    }
}

fn read_chunk(source: &mut impl Read, pending: &mut Vec<u8>) -> io::Result<usize> {
    source.take(CHUNK_BYTES as u64).read_to_end(pending)
}

fn written_before(source: &Source, time: SystemTime) -> bool {
    let file = match source {
        Source::Plain(file) => file,
        Source::Compressed(decoder) => decoder.get_ref(),
    };
    file.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|modified| modified < time)
}

/// Leaves the files that belong to the tail, the current one at its place; and how many lines of the first are
/// surplus.
fn cut_to_tail(
    mut sources: VecDeque<Source>,
    current: &mut Current,
    mut tail: Tail,
) -> io::Result<(VecDeque<Source>, u64)> {
    seek_to_tail(&mut current.file, &mut tail)?;
    let mut kept = VecDeque::new();
    while tail.wanted > 0
        && let Some(source) = sources.pop_back()
    {
        match source {
            Source::Plain(mut file) => {
                seek_to_tail(&mut file, &mut tail)?;
                kept.push_front(Source::Plain(file));
            }
            mut source @ Source::Compressed(_) => {
                let surplus = tail.surplus(&mut source)?;
                kept.push_front(source.rewound()?);
                if surplus > 0 {
                    return Ok((kept, surplus));
                }
            }
        }
    }
    Ok((kept, 0))
}

fn seek_to_tail(file: &mut File, tail: &mut Tail) -> io::Result<()> {
    let offset = tail.offset(file)?;
    file.seek(SeekFrom::Start(offset)).map(drop)
}

/// Which records go to the reader, and how they look.
#[derive(Debug)]
struct Filter {
    /// Records before are left out; as the format writes times, and as a time.
    since: Option<(String, WallTime)>,
    timestamps: bool,
    stream: Option<Stream>,
    /// Lines to leave out first.
    surplus: u64,
    /// Bytes that may still be read.
    left: u64,
    /// Whether the next record begins a line.
    at_line_start: bool,
}

impl Filter {
    fn new(options: &Options) -> Self {
        Self {
            since: options.since.map(|since| (stamp(since), since)),
            timestamps: options.timestamps,
            stream: options.stream,
            surplus: 0,
            left: options.limit_bytes.unwrap_or(u64::MAX),
            at_line_start: true,
        }
    }

    fn pass(&mut self, record: &Record<'_>, output: &mut Vec<u8>) {
        if self.stream.is_some_and(|stream| stream != record.stream) {
            return;
        }
        if self.surplus > 0 {
            self.surplus -= u64::from(record.whole);
            return;
        }
        if self.is_too_old(record) {
            return;
        }
        if self.timestamps && self.at_line_start {
            self.write(own_stamp(record).as_bytes(), output);
            self.write(b" ", output);
        }
        self.write(record.text, output);
        if record.whole {
            self.write(b"\n", output);
        }
        self.at_line_start = record.whole;
    }

    fn is_too_old(&self, record: &Record<'_>) -> bool {
        let Some((stamp, since)) = &self.since else { return false };
        if record.time.len() == stamp.len() && record.time.ends_with('Z') {
            return record.time < stamp.as_str();
        }
        record.written_at().is_none_or(|time| time < *since)
    }

    fn write(&mut self, bytes: &[u8], output: &mut Vec<u8>) {
        let count = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        output.extend_from_slice(&bytes[..count]);
        self.left -= count as u64;
    }
}

/// The record's time with nine decimals, whoever wrote it.
fn own_stamp(record: &Record<'_>) -> String {
    record.written_at().map_or_else(|| record.time.to_owned(), stamp)
}
