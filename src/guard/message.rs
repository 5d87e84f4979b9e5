//! What agent and guard say to each other: a request is one frame, its answer is one frame; a status is one frame per
//! Pod and one that ends it.

use super::frame::{Frame, FrameError, checksum};
use crate::lease::fence::FenceLevel;
use crate::lease::fence::watch::{Charge, Entry, Standing};
use crate::lease::session::SessionId;
use crate::time::Instant;

/// What a guard is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who are you?
    Hello,
    /// Watch over a Pod.
    Arm(Charge),
    /// A session was renewed.
    Renew {
        /// Which, see [`session_number`].
        session: u64,
        /// Until when.
        deadline: Instant,
    },
    /// Forget a Pod.
    Disarm(String),
    /// Fence one Pod, or all, now.
    Fence(Option<String>),
    /// Everything in the table.
    Status,
    /// Go on as this program.
    Upgrade(String),
    /// Fence everything, then end.
    Stop,
}

/// What a guard answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done, and in the table.
    Done,
    /// Not done.
    Refused(String),
    /// To [`Request::Hello`].
    Hello {
        /// The most this guard can do.
        level: FenceLevel,
        /// Tells this program from another one, see [`super::process::program_number`].
        program: u64,
    },
    /// To [`Request::Status`]; a [`Reply::Done`] follows the last.
    Entry(Entry),
}

/// A session as the guard knows it: of all sessions of a machine no two have the same.
pub fn session_number(session: &SessionId) -> u64 {
    checksum(session.to_string().as_bytes())
}

const HELLO: u8 = 1;
const ARM: u8 = 2;
const RENEW: u8 = 3;
const DISARM: u8 = 4;
const FENCE: u8 = 5;
const FENCE_ALL: u8 = 6;
const STATUS: u8 = 7;
const UPGRADE: u8 = 8;
const STOP: u8 = 9;
const DONE: u8 = 32;
const REFUSED: u8 = 33;
const HELLO_REPLY: u8 = 34;
const ENTRY: u8 = 35;

const AGAIN: u8 = 1;
const TOLD: u8 = 2;

impl Request {
    /// As a frame.
    pub fn frame(&self) -> Frame {
        let bare = |kind| Frame { kind, ..Frame::default() };
        match self {
            Self::Hello => bare(HELLO),
            Self::Arm(charge) => Frame { kind: ARM, ..charge_frame(charge) },
            Self::Renew { session, deadline } => {
                Frame { session: *session, deadline: *deadline, ..bare(RENEW) }
            }
            Self::Disarm(uid) => Frame { uid: uid.clone(), ..bare(DISARM) },
            Self::Fence(Some(uid)) => Frame { uid: uid.clone(), ..bare(FENCE) },
            Self::Fence(None) => bare(FENCE_ALL),
            Self::Status => bare(STATUS),
            Self::Upgrade(program) => Frame { text: program.clone(), ..bare(UPGRADE) },
            Self::Stop => bare(STOP),
        }
    }

    /// From a frame.
    pub fn of(frame: Frame) -> Result<Self, FrameError> {
        Ok(match frame.kind {
            HELLO => Self::Hello,
            ARM => Self::Arm(charge(frame)?),
            RENEW => Self::Renew { session: frame.session, deadline: frame.deadline },
            DISARM => Self::Disarm(frame.uid),
            FENCE => Self::Fence(Some(frame.uid)),
            FENCE_ALL => Self::Fence(None),
            STATUS => Self::Status,
            UPGRADE => Self::Upgrade(frame.text),
            STOP => Self::Stop,
            _ => return Err(FrameError::Damaged),
        })
    }
}

impl Reply {
    /// As a frame.
    pub fn frame(&self) -> Frame {
        let bare = |kind| Frame { kind, ..Frame::default() };
        match self {
            Self::Done => bare(DONE),
            Self::Refused(why) => Frame { text: why.clone(), ..bare(REFUSED) },
            Self::Hello { level, program } => {
                Frame { level: level_number(*level), session: *program, ..bare(HELLO_REPLY) }
            }
            Self::Entry(entry) => entry_frame(entry),
        }
    }

    /// From a frame.
    pub fn of(frame: Frame) -> Result<Self, FrameError> {
        Ok(match frame.kind {
            DONE => Self::Done,
            REFUSED => Self::Refused(frame.text),
            HELLO_REPLY => Self::Hello { level: level(frame.level)?, program: frame.session },
            ENTRY => Self::Entry(entry(frame)?),
            _ => return Err(FrameError::Damaged),
        })
    }
}

/// A line of the table.
pub fn entry_frame(entry: &Entry) -> Frame {
    let frame = Frame { kind: ENTRY, ..charge_frame(&entry.charge) };
    match entry.standing {
        Standing::Armed => frame,
        Standing::Due { since, again, told } => {
            let flags = if again { AGAIN } else { 0 } | if told { TOLD } else { 0 };
            Frame { standing: 1, since, flags, ..frame }
        }
        Standing::Fenced => Frame { standing: 2, ..frame },
    }
}

/// From a line of the table.
pub fn entry(frame: Frame) -> Result<Entry, FrameError> {
    let standing = match frame.standing {
        0 => Standing::Armed,
        1 => {
            let (again, told) = (frame.flags & AGAIN != 0, frame.flags & TOLD != 0);
            Standing::Due { since: frame.since, again, told }
        }
        2 => Standing::Fenced,
        _ => return Err(FrameError::Damaged),
    };
    if frame.kind != ENTRY {
        return Err(FrameError::Damaged);
    }
    Ok(Entry { charge: charge(frame)?, standing })
}

fn charge_frame(charge: &Charge) -> Frame {
    Frame {
        level: level_number(charge.level),
        session: charge.session,
        deadline: charge.deadline,
        margin: charge.margin,
        uid: charge.uid.clone(),
        text: charge.dir.clone(),
        ..Frame::default()
    }
}

/// UIDs become parts of paths.
fn charge(frame: Frame) -> Result<Charge, FrameError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if frame.uid.is_empty() || !frame.uid.chars().all(plain) {
        return Err(FrameError::Damaged);
    }
    Ok(Charge {
        level: level(frame.level)?,
        session: frame.session,
        deadline: frame.deadline,
        margin: frame.margin,
        uid: frame.uid,
        dir: frame.text,
    })
}

fn level_number(level: FenceLevel) -> u8 {
    match level {
        FenceLevel::None => 0,
        FenceLevel::Kill => 1,
        FenceLevel::Reset => 2,
    }
}

fn level(number: u8) -> Result<FenceLevel, FrameError> {
    match number {
        0 => Ok(FenceLevel::None),
        1 => Ok(FenceLevel::Kill),
        2 => Ok(FenceLevel::Reset),
        _ => Err(FrameError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn charge() -> Charge {
        Charge {
            uid: "a-1".to_owned(),
            dir: "/var/lib/x".to_owned(),
            session: 7,
            deadline: Instant::from_boot(Duration::from_millis(1234)),
            margin: Duration::from_secs(3),
            level: FenceLevel::Reset,
        }
    }

    #[test]
    fn what_is_asked_and_answered_arrives_as_it_was_said() {
        let since = Instant::from_boot(Duration::from_secs(9));
        for request in [
            Request::Hello,
            Request::Arm(charge()),
            Request::Renew { session: 7, deadline: since },
            Request::Disarm("a".to_owned()),
            Request::Fence(Some("a".to_owned())),
            Request::Fence(None),
            Request::Status,
            Request::Upgrade("/usr/bin/leasehold".to_owned()),
            Request::Stop,
        ] {
            assert_eq!(Request::of(request.frame()), Ok(request));
        }
        let entry = |standing| Reply::Entry(Entry { charge: charge(), standing });
        for reply in [
            Reply::Done,
            Reply::Refused("no".to_owned()),
            Reply::Hello { level: FenceLevel::Kill, program: 3 },
            entry(Standing::Armed),
            entry(Standing::Fenced),
            entry(Standing::Due { since, again: false, told: true }),
            entry(Standing::Due { since, again: true, told: false }),
        ] {
            assert_eq!(Reply::of(reply.frame()), Ok(reply));
        }
    }

    #[test]
    fn a_uid_that_leads_out_of_its_directory_is_refused() {
        for uid in ["", "..", "a/b", "a b", "ä"] {
            let charge = Charge { uid: uid.to_owned(), ..charge() };
            assert_eq!(Request::of(Request::Arm(charge).frame()), Err(FrameError::Damaged), "{uid:?}");
        }
    }
}
