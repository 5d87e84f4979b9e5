//! Finds where the last lines of a log begin.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::super::format::{Record, Stream};

/// Read backwards in blocks of so many bytes; records are shorter.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Counts lines backwards from the end of a log.
#[derive(Debug)]
pub(super) struct Tail {
    /// Lines still to be found.
    pub(super) wanted: u64,
    /// Whether the record after this one may be the middle of a line: none has been seen yet.
    at_end: bool,
    /// Lines of this stream alone.
    stream: Option<Stream>,
}

impl Tail {
    pub(super) fn new(lines: u64, stream: Option<Stream>) -> Self {
        Self { wanted: lines, at_end: true, stream }
    }

    /// Goes one record back; false when this one is too many. A line ends with a whole record, or at the log's end.
    fn back_over(&mut self, line: &[u8]) -> bool {
        let Some(record) = Record::parse(line) else { return true };
        if self.stream.is_some_and(|stream| stream != record.stream) {
            return true;
        }
        let ends_line = record.whole || self.at_end;
        self.at_end = false;
        if ends_line && self.wanted == 0 {
            return false;
        }
        self.wanted -= u64::from(ends_line);
        true
    }

    /// The offset in a plain file from where on it belongs to the tail.
    pub(super) fn offset(&mut self, file: &File) -> io::Result<u64> {
        let mut end = file.metadata()?.len();
        let mut size = BLOCK_BYTES;
        while end > 0 {
            let start = end.saturating_sub(size);
            let mut block = vec![0; (end - start) as usize];
            file.read_exact_at(&mut block, start)?;
            // Of the first record in the block only the end may be there.
            let first = match block.iter().position(|byte| *byte == b'\n') {
                _ if start == 0 => 0,
                Some(newline) if newline + 1 < block.len() => newline + 1,
                _ => {
                    size *= 2;
                    continue;
                }
            };
            if let Some(offset) = self.offset_in(&block[first..]) {
                return Ok(start + (first + offset) as u64);
            }
            end = start + first as u64;
            size = BLOCK_BYTES;
        }
        Ok(0)
    }

    /// The offset in a block of records, or none if all of it belongs to the tail.
    fn offset_in(&mut self, block: &[u8]) -> Option<usize> {
        let mut end = block.len();
        while end > 0 {
            // The last record may be in the making, without its newline.
            let text = if block[end - 1] == b'\n' { end - 1 } else { end };
            let start =
                block[..text].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            if !self.back_over(&block[start..text]) {
                return Some(end);
            }
            end = start;
        }
        None
    }

    /// How many lines at the beginning of a file, which can only be read forwards, do not belong to the tail.
    pub(super) fn surplus(&mut self, file: impl Read) -> io::Result<u64> {
        let mut lines = 0;
        let mut unfinished = false;
        for_each_line(file, |line| {
            if let Some(record) = Record::parse(line).filter(|r| self.stream.is_none_or(|s| s == r.stream)) {
                lines += u64::from(record.whole);
                unfinished = !record.whole;
            }
        })?;
        lines += u64::from(unfinished && self.at_end);
        self.at_end &= lines == 0;
        let surplus = lines.saturating_sub(self.wanted);
        self.wanted = self.wanted.saturating_sub(lines);
        Ok(surplus)
    }
}

fn for_each_line(mut file: impl Read, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    let mut pending = Vec::new();
    let mut block = vec![0; BLOCK_BYTES as usize];
    loop {
        let count = file.read(&mut block)?;
        if count == 0 {
            return Ok(());
        }
        pending.extend_from_slice(&block[..count]);
        let end = pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        pending[..end].split_inclusive(|byte| *byte == b'\n').for_each(|line| visit(&line[..line.len() - 1]));
        pending.drain(..end);
    }
}
