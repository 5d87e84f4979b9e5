//! Connections that carry containers' output to those who are attached.

use std::collections::BTreeMap;

use super::super::format::Stream;
use super::super::tap::{PIECE_BYTES_MAX, TAP_BYTES_MAX, TAPS_MAX, last, output_head};
use super::connection::Connection;

/// All taps.
#[derive(Debug, Default)]
pub(in crate::logs) struct Taps {
    /// By the id of their log.
    by_log: BTreeMap<String, Vec<Tap>>,
    /// Tokens of those that are no more.
    gone: Vec<u64>,
}

#[derive(Debug)]
struct Tap {
    token: u64,
    connection: Connection,
    /// Nothing more will be said; it is closed when all is sent.
    over: bool,
}

impl Tap {
    /// False when it has gone.
    fn say(&mut self, stream: Stream, output: &[u8]) -> bool {
        if self.over {
            return true;
        }
        for piece in output.chunks(PIECE_BYTES_MAX) {
            self.connection.push(&[&output_head(stream, piece.len()), piece]);
        }
        if !self.connection.flush() {
            return false;
        }
        if self.connection.waiting() > TAP_BYTES_MAX {
            self.finish(true);
        }
        true
    }

    fn finish(&mut self, cut_off: bool) {
        if !std::mem::replace(&mut self.over, true) {
            self.connection.push(&[&last(cut_off)]);
        }
    }

    /// False when it has gone, or needs to be kept no longer.
    fn turn(&mut self) -> bool {
        // It has nothing to say, but its end is read.
        let open = self.connection.read() && self.connection.flush();
        open && !(self.over && self.connection.waiting() == 0)
    }
}

impl Taps {
    pub(super) fn is_full(&self) -> bool {
        self.by_log.values().map(Vec::len).sum::<usize>() >= TAPS_MAX
    }

    /// From now on this connection gets a log's output; `unfinished` is what it missed of the last lines.
    pub(super) fn add(
        &mut self,
        id: &str,
        token: u64,
        connection: Connection,
        unfinished: &[(Stream, Vec<u8>)],
    ) {
        self.by_log.entry(id.to_owned()).or_default().push(Tap { token, connection, over: false });
        self.keep(id, |tap| {
            tap.token != token || unfinished.iter().all(|(stream, output)| tap.say(*stream, output))
        });
    }

    /// A log has new output.
    pub(in crate::logs) fn tell(&mut self, id: &str, stream: Stream, output: &[u8]) {
        if !output.is_empty() {
            self.keep(id, |tap| tap.say(stream, output));
        }
    }

    /// A log is closed.
    pub(super) fn end(&mut self, id: &str) {
        self.keep(id, |tap| {
            tap.finish(false);
            tap.turn()
        });
    }

    /// The kernel has news of a tap.
    pub(super) fn serve(&mut self, id: &str, token: u64) {
        self.keep(id, |tap| tap.token != token || tap.turn());
    }

    /// Tokens of those that have ended since this was asked.
    pub(super) fn take_gone(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.gone)
    }

    fn keep(&mut self, id: &str, mut wanted: impl FnMut(&mut Tap) -> bool) {
        let Some(taps) = self.by_log.get_mut(id) else { return };
        let gone = &mut self.gone;
        taps.retain_mut(|tap| {
            let keep = wanted(tap);
            if !keep {
                gone.push(tap.token);
            }
            keep
        });
        if taps.is_empty() {
            self.by_log.remove(id);
        }
    }
}
