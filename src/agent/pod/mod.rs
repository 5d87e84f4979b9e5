//! One Pod's life on this node, from admission to the last trace gone. PURE: imports `api` and `time` only.
//!
//! [`Effect`]s are wishes; state changes when their answer comes back as an [`Input`]. Every effect is answered by
//! exactly one input (named at the effect), except `Persist`, `WriteStatus`, `Record`, `Signal` and `Finished`, which
//! need none. What must survive the agent is a [`PodRecord`]; what is under way (`flight`) is lost with the agent and
//! found again by the first [`Input::Observed`].
//!
//! ```text
//!             Observed                    a container ends: again, after its pause, by policy
//!   unseen ───────────► keep running ───────────────────────────────────────────────┐
//!                        │  sandbox ─┐                                               │
//!                        │  volumes ─┼─► init containers, one by one ─► main, at once ◄─┘
//!                        │  images ──┘   (sidecars on the way)
//!                        │
//!                        │ done, overdue, deleted, gone
//!                        ▼
//!                       wind down:  main stop ─► sidecars stop ─► at rest (phase is terminal)
//!                                   ─► bodies removed (deleted or gone only) ─► sandbox removed ─► Finished
//! ```
//!
//! `machine` hears and speaks, `running` brings up, `ending` takes down, `observe` believes containerd's list, `status`
//! says it in the words of the API. Each turn decides from the whole state: a spurious wake-up is harmless.
//!
//! Probes and hooks (`probe`, `probing`, `hooks`) go beside: what they have found stands in the record (`health`), what
//! is under way does not, so that the agent's restart flips nothing.
//!
//! Architecture invariant: nothing here knows how an effect is performed. Absent so far: in-place resize, restart
//! rules that restart all containers.

mod ending;
mod ephemeral;
mod event;
mod flight;
mod health;
mod hooks;
mod identity;
mod interface;
mod machine;
mod observe;
mod probe;
mod probing;
mod record;
mod retry;
mod running;
mod spec;
mod status;

pub use ephemeral::with_ephemeral;
pub use interface::{
    ContainerRef, Effect, Exit, Hold, HookKind, Host, ImageFailure, Input, ObservedContainer, ObservedState,
    Pull, PullPolicy, StartFailure,
};
pub use machine::PodMachine;
pub use probe::{ProbeKind, ProbeOutcome};
pub use record::PodRecord;

use sha2::{Digest, Sha256};

/// The longest identifier containerd accepts, in bytes.
const CONTAINER_ID_BYTES_MAX: usize = 76;

/// The containerd id of one run: `<pod uid>-<container name>-<attempt>`. Where that is longer than containerd allows
/// (76 bytes), it is cut and ends in 16 hex digits of the whole's SHA-256, so that it stays unique and stable.
pub fn container_id(pod_uid: &str, container: &str, attempt: u32) -> String {
    let whole = format!("{pod_uid}-{container}-{attempt}");
    if whole.len() <= CONTAINER_ID_BYTES_MAX {
        return whole;
    }
    let tail: String =
        Sha256::digest(&whole).iter().take(8).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let mut head = CONTAINER_ID_BYTES_MAX - tail.len() - 1;
    while !whole.is_char_boundary(head) {
        head -= 1;
    }
    format!("{}-{tail}", whole[..head].trim_end_matches(['-', '.', '_']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_id_is_readable_when_short_and_hashed_when_long() {
        let uid = "0b3cf6c2-6a0b-4d2e-9f39-0b8f2b6a5d10";
        assert_eq!(container_id(uid, "web", 3), format!("{uid}-web-3"));
        let long = container_id(uid, &"x".repeat(63), 0);
        assert!(long.len() <= 76 && long.starts_with(uid), "{long}");
        assert_ne!(long, container_id(uid, &"x".repeat(63), 1));
        assert_eq!(long, container_id(uid, &"x".repeat(63), 0));
    }
}
