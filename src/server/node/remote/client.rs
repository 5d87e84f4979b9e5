//! The client's side of a session, by whichever protocol.

use bytes::Bytes;
use serde::Deserialize;

use super::channels::Channels;
use super::session::Outcome;
use super::streams::SpdyStreams;
use crate::logs::format::Stream;

/// A terminal's size, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Size {
    pub(super) width: u16,
    pub(super) height: u16,
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Some input, not empty.
    Input(Bytes),
    /// There is no more input.
    InputEnd,
    /// The terminal has this size.
    Size(Size),
    /// Nothing of interest.
    Nothing,
    /// It has gone, by itself or because nothing happens any more.
    Gone,
}

/// A connected client.
pub(super) struct Client {
    spoken: Spoken,
    /// Said before it was listened to.
    early: Option<Told>,
}

enum Spoken {
    Channels(Box<Channels>),
    Streams(Box<SpdyStreams>),
}

impl From<Channels> for Client {
    fn from(channels: Channels) -> Self {
        Self { spoken: Spoken::Channels(Box::new(channels)), early: None }
    }
}

impl From<SpdyStreams> for Client {
    fn from(streams: SpdyStreams) -> Self {
        Self { spoken: Spoken::Streams(Box::new(streams)), early: None }
    }
}

impl Client {
    /// The next that it says. May be cancelled.
    pub(super) async fn next(&mut self) -> Told {
        if let Some(told) = self.early.take() {
            return told;
        }
        match &mut self.spoken {
            Spoken::Channels(client) => client.next().await,
            Spoken::Streams(client) => client.next().await,
        }
    }

    /// The terminal's size, if that is the first that it says. May be cancelled.
    pub(super) async fn first_size(&mut self) -> Option<Size> {
        loop {
            match self.next().await {
                Told::Size(size) => return Some(size),
                Told::Nothing => {}
                told @ (Told::Input(_) | Told::InputEnd | Told::Gone) => {
                    self.early = Some(told);
                    return None;
                }
            }
        }
    }

    /// Sends some output. False when it has gone.
    pub(super) async fn send(&mut self, stream: Stream, output: &[u8]) -> bool {
        match &mut self.spoken {
            Spoken::Channels(client) => client.send(stream, output).await,
            Spoken::Streams(client) => client.send(stream, output).await,
        }
    }

    /// Shows that we are there though we do not listen. False when it has gone.
    pub(super) async fn sign_of_life(&mut self) -> bool {
        match &mut self.spoken {
            Spoken::Channels(client) => client.sign_of_life().await,
            // The connection is carried meanwhile, and answers pings.
            Spoken::Streams(_) => true,
        }
    }

    /// Tells how it ended, and ends the session.
    pub(super) async fn end(&mut self, outcome: &Outcome) {
        match &mut self.spoken {
            Spoken::Channels(client) => client.end(outcome).await,
            Spoken::Streams(client) => client.end(outcome).await,
        }
    }
}
