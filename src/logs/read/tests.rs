use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use tokio::sync::watch;

use super::super::Rotation;
use super::super::compress::Compressor;
use super::super::files::LogFile;
use super::super::format::{Piece, Stream as Output, append_record, stamp};
use super::cursor::{Cursor, Step};
use super::{Options, read, termination_message};
use crate::time::WallTime;

/// A log, written as the log process writes it: a record a second, from 12:00:00 on.
struct Written {
    dir: tempfile::TempDir,
    file: LogFile,
    clock: WallTime,
    limit: Rotation,
}

impl Written {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = LogFile::open(&dir.path().join("0.log"), None).expect("opens");
        let clock = WallTime::parse("2026-01-02T12:00:00Z").expect("a time");
        Self { dir, file, clock, limit: Rotation { max_bytes: 0, max_files: 100 } }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("0.log")
    }

    fn record(&mut self, stream: Output, whole: bool, text: &str) {
        let mut record = Vec::new();
        let piece = Piece { text: text.len(), taken: text.len(), whole };
        append_record(&mut record, &stamp(self.clock), stream, piece, text.as_bytes());
        let base = self.file.len().expect("it is there");
        self.file.write(base, &record).expect("writes");
        self.clock.0 += jiff::Span::new().seconds(1);
    }

    fn line(&mut self, text: &str) {
        self.record(Output::Stdout, true, text);
    }

    fn rotate(&mut self, compress: bool) {
        let mut compressor = Compressor::default();
        let compressible = self.file.rotate(self.clock, self.limit).expect("rotates");
        if compress {
            compressor.add(compressible);
        }
        while !compressor.is_idle() {
            compressor.turn();
        }
    }

    /// Ten lines in five files, the older ones compressed if asked.
    fn ten_lines(compress: bool) -> Self {
        let mut log = Self::new();
        for number in 0..10 {
            log.line(&format!("line {number}"));
            if number % 2 == 1 && number < 9 {
                log.rotate(compress);
            }
        }
        log
    }
}

async fn all(log: &Path, options: Options) -> String {
    let (_ended, writing) = watch::channel(false);
    let stream = read(log.to_owned(), options, writing).await.expect("the log is there");
    let chunks: Vec<_> = stream.try_collect().await.expect("readable");
    String::from_utf8(chunks.concat()).expect("text")
}

fn numbered(range: std::ops::Range<u32>) -> String {
    range.fold(String::new(), |text, number| text + &format!("line {number}\n"))
}

#[tokio::test]
async fn all_files_of_a_log_are_read_in_order() {
    for compress in [false, true] {
        let log = Written::ten_lines(compress);
        assert_eq!(all(&log.path(), Options::default()).await, numbered(0..10), "{compress}");
    }
}

#[tokio::test]
async fn any_number_of_last_lines_is_found_in_any_file() {
    for compress in [false, true] {
        let log = Written::ten_lines(compress);
        for lines in 0..12 {
            let options = Options { tail_lines: Some(lines), ..Options::default() };
            let expected = numbered(10_u32.saturating_sub(lines as u32)..10);
            assert_eq!(all(&log.path(), options).await, expected, "{lines} of {compress}");
        }
    }
}

#[tokio::test]
async fn last_lines_are_found_in_a_file_of_many_blocks() {
    let mut log = Written::new();
    let padding = "x".repeat(997);
    for number in 0..400 {
        log.line(&format!("{padding}{number}"));
    }
    for lines in [1, 2, 63, 64, 65, 200, 399, 400, 401] {
        let options = Options { tail_lines: Some(lines), ..Options::default() };
        let text = all(&log.path(), options).await;
        let expected: Vec<_> =
            (400_u64.saturating_sub(lines)..400).map(|number| format!("{padding}{number}")).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{lines}");
    }
}

#[tokio::test]
async fn a_line_cut_into_records_is_one_line() {
    let mut log = Written::new();
    log.line("first");
    log.record(Output::Stdout, false, "a long ");
    log.record(Output::Stdout, false, "long ");
    log.record(Output::Stdout, true, "line");
    log.record(Output::Stdout, false, "no end");
    let tail = |lines| Options { tail_lines: Some(lines), ..Options::default() };
    assert_eq!(all(&log.path(), tail(0)).await, "");
    assert_eq!(all(&log.path(), tail(1)).await, "no end");
    assert_eq!(all(&log.path(), tail(2)).await, "a long long line\nno end");
    assert_eq!(all(&log.path(), tail(3)).await, "first\na long long line\nno end");
    let stamped = Options { timestamps: true, tail_lines: Some(2), ..Options::default() };
    let expected = "2026-01-02T12:00:01.000000000Z a long long line\n2026-01-02T12:00:04.000000000Z no end";
    assert_eq!(all(&log.path(), stamped).await, expected);
}

#[tokio::test]
async fn old_lines_other_streams_and_bytes_beyond_the_limit_are_left_out() {
    let mut log = Written::ten_lines(false);
    log.record(Output::Stderr, true, "oh");
    let since = WallTime::parse("2026-01-02T13:00:08+01:00");
    let options = Options { since, ..Options::default() };
    assert_eq!(all(&log.path(), options.clone()).await, "line 8\nline 9\noh\n");
    let stdout = Options { stream: Some(Output::Stdout), ..options.clone() };
    assert_eq!(all(&log.path(), stdout).await, "line 8\nline 9\n");
    let stderr = Options { stream: Some(Output::Stderr), tail_lines: Some(1), ..Options::default() };
    assert_eq!(all(&log.path(), stderr).await, "oh\n");
    let limited = Options { limit_bytes: Some(9), ..options };
    assert_eq!(all(&log.path(), limited).await, "line 8\nli");
}

#[tokio::test]
async fn what_is_no_record_is_skipped_and_a_log_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("0.log");
    let (_ended, writing) = watch::channel(false);
    let missing = read(log.clone(), Options::default(), writing).await.map(drop);
    assert_eq!(missing.expect_err("there is no log").kind(), std::io::ErrorKind::NotFound);
    let text = "2026-01-02T12:00:00Z stdout F one\ngarbage\n\n2026-01-02T12:00:01.5Z stdout F two\n2026-01";
    std::fs::write(&log, text).expect("writable");
    assert_eq!(all(&log, Options::default()).await, "one\ntwo\n");
    let options = Options { timestamps: true, tail_lines: Some(1), ..Options::default() };
    assert_eq!(all(&log, options).await, "2026-01-02T12:00:01.500000000Z two\n");
}

#[tokio::test]
async fn following_goes_on_across_rotation_and_ends_with_the_container() {
    let mut log = Written::new();
    let (running, writing) = watch::channel(true);
    let options = Options { follow: true, tail_lines: Some(1), ..Options::default() };
    log.line("not asked for");
    log.line("line 0");
    let mut stream = Box::pin(read(log.path(), options, writing).await.expect("the log is there"));
    let mut text = String::new();
    let mut number = 1;
    while number < 40 {
        // The reader is behind by whole files at times, some of them compressed before it comes to them.
        for _ in 0..number % 4 {
            log.line(&format!("line {number}"));
            number += 1;
            if number % 3 == 0 {
                log.rotate(number % 2 == 0);
            }
        }
        log.line(&format!("line {number}"));
        number += 1;
        let last = format!("line {}\n", number - 1);
        while !text.ends_with(&last) {
            let chunk = stream.next().await.expect("the container runs").expect("readable");
            text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
    log.line(&format!("line {number}"));
    running.send(false).expect("the reader listens");
    while let Some(chunk) = stream.next().await {
        text.push_str(std::str::from_utf8(&chunk.expect("readable")).expect("text"));
    }
    assert_eq!(text, numbered(0..number + 1));
}

#[tokio::test]
async fn a_reader_that_fell_behind_gets_the_files_that_are_left() {
    let mut log = Written::new();
    log.limit.max_files = 3;
    let (running, writing) = watch::channel(true);
    let options = Options { follow: true, ..Options::default() };
    log.line("line 0");
    let mut stream = Box::pin(read(log.path(), options, writing).await.expect("the log is there"));
    let first = stream.next().await.expect("there is a line").expect("readable");
    assert_eq!(first, "line 0\n");
    for number in 1..10 {
        log.rotate(true);
        log.line(&format!("line {number}"));
    }
    running.send(false).expect("the reader listens");
    let rest: Vec<_> = stream.try_collect().await.expect("readable");
    assert_eq!(String::from_utf8(rest.concat()).expect("text"), numbered(7..10));
}

#[tokio::test]
async fn a_truncated_log_is_followed_from_its_new_beginning() {
    let mut log = Written::new();
    let (_running, writing) = watch::channel(true);
    log.line("a long line before");
    let options = Options { follow: true, ..Options::default() };
    let mut stream = Box::pin(read(log.path(), options, writing).await.expect("the log is there"));
    assert_eq!(stream.next().await.expect("a line").expect("readable"), "a long line before\n");
    std::fs::File::create(log.path()).expect("truncates");
    log.line("after");
    assert_eq!(stream.next().await.expect("a line").expect("readable"), "after\n");
}

#[tokio::test]
async fn a_record_torn_by_a_full_disk_is_forgotten() {
    let log = Written::new();
    let write = |text: &str| std::fs::write(log.path(), text).expect("writable");
    write("2026-01-02T12:00:00Z stdout F one\n2026-01-02T12:00:01Z stdout F to");
    let mut cursor = Cursor::open(log.path(), &Options::default()).expect("the log is there");
    let mut next = || match cursor.step().expect("readable") {
        Step::Output(text) => String::from_utf8(text.to_vec()).expect("text"),
        Step::CaughtUp => "caught up".into(),
        Step::Finished => "finished".into(),
    };
    assert_eq!(next(), "one\n");
    write("2026-01-02T12:00:00Z stdout F one\n");
    assert_eq!(next(), "caught up");
    write("2026-01-02T12:00:00Z stdout F one\n2026-01-02T12:00:02Z stdout F two\n");
    assert_eq!(next(), "two\n");
}

#[tokio::test]
async fn the_end_of_the_log_stands_in_for_a_termination_message() {
    let mut log = Written::new();
    assert_eq!(termination_message(&log.dir.path().join("none")).await, "");
    for number in 0..100 {
        log.line(&format!("line {number}"));
    }
    assert_eq!(termination_message(&log.path()).await, numbered(20..100));
    log.line(&"ü".repeat(2000));
    let message = termination_message(&log.path()).await;
    assert_eq!(message, "ü".repeat(1023) + "\n");
}
