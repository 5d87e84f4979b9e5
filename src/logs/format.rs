//! The CRI log format: `2026-01-02T03:04:05.123456789Z stdout F text`, one record a line.
//!
//! Tag `F` ends a line of the container's output, `P` says that the line goes on in the stream's next record.

use serde::{Deserialize, Serialize};

use crate::time::WallTime;

/// Most bytes of text in one record, as containerd's `max_container_log_line_size`; longer lines are cut into `P`
/// records.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// Bytes of a record besides its text: time, stream, tag, spaces, newline.
pub const RECORD_OVERHEAD_BYTES: usize = TIME_BYTES + " stdout F \n".len();

/// Length of `2026-01-02T03:04:05.123456789Z`.
const TIME_BYTES: usize = 30;

/// Which of a container's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl Stream {
    /// As the format writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// RFC 3339 in UTC with nine decimals; all stamps are equally long, so a rewritten record keeps its length.
pub fn stamp(time: WallTime) -> String {
    time.0.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

/// The next record's worth of raw output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes of text, from the front.
    pub text: usize,
    /// Bytes used up: the text and its line end.
    pub taken: usize,
    /// Whether the line ends here (`F`) or goes on (`P`).
    pub whole: bool,
}

/// Cuts the first piece off a stream's output, or says that more must come. `\n` and `\r\n` end a line.
pub fn cut(output: &[u8]) -> Option<Piece> {
    let window = &output[..output.len().min(MAX_LINE_BYTES + 2)];
    if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
        let text = if end > 0 && window[end - 1] == b'\r' { end - 1 } else { end };
        if text <= MAX_LINE_BYTES {
            return Some(Piece { text, taken: end + 1, whole: true });
        }
    }
    // One byte over may be the `\r` of a line end that has not come yet.
    let overlong =
        window.len() > MAX_LINE_BYTES + 1 || window.get(MAX_LINE_BYTES).is_some_and(|byte| *byte != b'\r');
    overlong.then_some(Piece { text: MAX_LINE_BYTES, taken: MAX_LINE_BYTES, whole: false })
}

/// Cuts a piece of a line that cannot be waited for: the stream has ended, or its pipe is full.
pub fn cut_unfinished(output: &[u8]) -> Option<Piece> {
    let text = output.len().min(MAX_LINE_BYTES);
    (text > 0).then_some(Piece { text, taken: text, whole: false })
}

/// Appends one record.
pub fn append_record(out: &mut Vec<u8>, stamp: &str, stream: Stream, piece: Piece, output: &[u8]) {
    out.extend_from_slice(stamp.as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(if piece.whole { b" F " } else { b" P " });
    out.extend_from_slice(&output[..piece.text]);
    out.push(b'\n');
}

/// One record of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was written, as it stands there.
    pub time: &'a str,
    /// Which output.
    pub stream: Stream,
    /// Whether the line ends here.
    pub whole: bool,
    /// The text, without line end.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads one line (without its newline); none for anything that is no record.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(fields.next()?).ok()?;
        let stream = match fields.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        // The first of the colon-separated tags says partial or full; others are for later versions.
        let whole = match fields.next()?.split(|byte| *byte == b':').next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self { time, stream, whole, text: fields.next()? })
    }

    /// When it was written.
    pub fn written_at(&self) -> Option<WallTime> {
        WallTime::parse(self.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: usize, taken: usize) -> Piece {
        Piece { text, taken, whole: true }
    }

    fn partial(text: usize) -> Piece {
        Piece { text, taken: text, whole: false }
    }

    fn line(text: usize, end: &str) -> Vec<u8> {
        let mut line = vec![b'x'; text];
        line.extend_from_slice(end.as_bytes());
        line
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_unfinished_ones_wait() {
        assert_eq!(cut(b""), None);
        assert_eq!(cut(b"abc"), None);
        assert_eq!(cut(b"abc\r"), None);
        assert_eq!(cut(b"\n"), Some(whole(0, 1)));
        assert_eq!(cut(b"\r\n"), Some(whole(0, 2)));
        assert_eq!(cut(b"abc\nrest"), Some(whole(3, 4)));
        assert_eq!(cut(b"abc\r\nrest"), Some(whole(3, 5)));
        assert_eq!(cut(b"a\rb\n"), Some(whole(3, 4)));
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole_and_one_byte_more_is_cut() {
        const MAX: usize = MAX_LINE_BYTES;
        assert_eq!(cut(&line(MAX, "")), None);
        assert_eq!(cut(&line(MAX, "\n")), Some(whole(MAX, MAX + 1)));
        assert_eq!(cut(&line(MAX, "\r")), None);
        assert_eq!(cut(&line(MAX, "\r\n")), Some(whole(MAX, MAX + 2)));
        assert_eq!(cut(&line(MAX, "\rx")), Some(partial(MAX)));
        assert_eq!(cut(&line(MAX + 1, "")), Some(partial(MAX)));
        assert_eq!(cut(&line(MAX + 1, "\n")), Some(partial(MAX)));
        assert_eq!(cut(&line(3 * MAX, "\n")), Some(partial(MAX)));
    }

    #[test]
    fn what_cannot_be_waited_for_is_cut_as_partial() {
        assert_eq!(cut_unfinished(b""), None);
        assert_eq!(cut_unfinished(b"> "), Some(partial(2)));
        assert_eq!(cut_unfinished(&line(2 * MAX_LINE_BYTES, "")), Some(partial(MAX_LINE_BYTES)));
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let time = WallTime::parse("2026-11-23T12:00:00.12Z").expect("a time");
        let stamp = stamp(time);
        let mut out = Vec::new();
        let piece = cut(b"two  words \n").expect("a line");
        append_record(&mut out, &stamp, Stream::Stderr, piece, b"two  words \n");
        assert_eq!(out, b"2026-11-23T12:00:00.120000000Z stderr F two  words \n");
        assert_eq!(out.len(), RECORD_OVERHEAD_BYTES + 11);
        let record = Record::parse(&out[..out.len() - 1]).expect("a record");
        assert_eq!(record.text, b"two  words ");
        assert_eq!(record.stream, Stream::Stderr);
        assert!(record.whole);
        assert_eq!(record.written_at(), Some(time));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for line in ["", "x", "2026-11-23T12:00:00Z", "t stdin F x", "t stdout Q x", "t stdout F"] {
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
        assert!(Record::parse(b"t stdout P:later tags").is_some_and(|record| !record.whole));
        assert!(Record::parse(b"t stdout F ").is_some_and(|record| record.text.is_empty()));
    }
}
