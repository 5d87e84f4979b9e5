//! A Pod that runs under an identity: nothing of it starts while that is not held, and it is over when another has it.

use std::time::Duration;

use super::event::{Event, IDENTITY_LOST};
use super::interface::Hold;
use super::machine::PodMachine;
use super::record::{Cause, Verdict};
use super::status::phase;
use crate::time::Instant;

/// What is known of the identities of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Identity {
    /// It runs under none.
    #[default]
    None,
    /// Its containers may start.
    Held,
    /// They may not.
    Withheld(Hold),
}

impl Identity {
    /// Whether containers may start.
    pub(super) fn admits(&self) -> bool {
        match self {
            Self::None | Self::Held => true,
            Self::Withheld(_) => false,
        }
    }
}

impl PodMachine {
    pub(super) fn identity_is(&mut self, hold: Option<Hold>) {
        let before = std::mem::take(&mut self.identity);
        self.identity = hold.map_or(Identity::Held, Identity::Withheld);
        match &self.identity {
            Identity::Withheld(hold) if hold.by_others => {
                let said = matches!(&before, Identity::Withheld(said) if said.message == hold.message);
                if !said && self.record.ending.is_none() {
                    self.record_event(Event::identity_held(&hold.message.clone()));
                }
            }
            // Whoever was stopped by the fence has not crashed.
            Identity::Held if !before.admits() => {
                for container in self.record.containers.values_mut().filter(|it| it.running().is_none()) {
                    container.forget_failures();
                }
            }
            Identity::None | Identity::Held | Identity::Withheld(_) => {}
        }
    }

    pub(super) fn superseded(&mut self, message: &str, now: Instant) {
        if self.record.ending.is_some() {
            return;
        }
        self.record.verdict = Some(Verdict {
            phase: phase::FAILED.to_owned(),
            reason: Some(IDENTITY_LOST.to_owned()),
            message: Some(message.to_owned()),
        });
        self.record_event(Event::identity_lost(message));
        self.begin_ending(Cause::Done, Duration::ZERO, now);
    }
}
