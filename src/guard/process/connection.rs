//! One who asks: root's processes only.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::guard::frame::{Frame, SIZE};
use crate::guard::message::{Reply, Request};

/// Most connections at a time; more are closed at once. The agent needs one.
pub(super) const CONNECTIONS_MAX: usize = 16;

pub(super) struct Connection {
    stream: UnixStream,
    buffer: [u8; SIZE],
    filled: usize,
    waits_for_stop: bool,
}

impl Connection {
    /// None for anybody but root.
    pub(super) fn new(stream: UnixStream) -> Option<Self> {
        let peer = getsockopt(&stream, PeerCredentials).ok()?;
        stream.set_nonblocking(true).ok()?;
        (peer.uid() == 0).then_some(Self { stream, buffer: [0; SIZE], filled: 0, waits_for_stop: false })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads what is there and answers each request. False when the connection is over.
    pub(super) fn converse(&mut self, mut answer: impl FnMut(Request) -> Vec<Reply>) -> bool {
        loop {
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return false,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            }
            if self.filled < SIZE {
                continue;
            }
            self.filled = 0;
            let replies = match Frame::decode(&self.buffer).and_then(Request::of) {
                Ok(request) => {
                    self.waits_for_stop |= request == Request::Stop;
                    answer(request)
                }
                Err(error) => vec![Reply::Refused(error.to_string())],
            };
            if !replies.iter().all(|reply| self.send(reply)) {
                return false;
            }
        }
    }

    /// Answers one who asked for the end.
    pub(super) fn answer_stop(&mut self) {
        if self.waits_for_stop {
            self.send(&Reply::Done);
        }
    }

    /// Whoever does not read loses the connection: the guard waits for nobody.
    fn send(&mut self, reply: &Reply) -> bool {
        let frame = reply.frame().encode();
        frame.is_ok_and(|bytes| self.stream.write_all(&bytes).is_ok())
    }
}
