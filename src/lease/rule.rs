//! Rules that can be broken on purpose, in tests of the simulator only: elsewhere each is kept, and the compiler knows.

/// A rule of this room, or of what rests on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A renewal counts from before it was sent, not from its answer.
    CountFromSending,
    /// What a look finds counts from when that write was sent.
    CountFoundFromSending,
    /// The monitor waits for M beyond D.
    WaitForMargin,
    /// The monitor's shard ends with its own last accepted renewal.
    MonitorEnds,
    /// A shard is not free while a session is named.
    NamedIsNotFree,
    /// A shard is held under its session only.
    HeldUnderSession,
    /// Every renewal is a real write, and one that changed nothing is none.
    RenewForReal,
    /// Nothing starts, and no Lease says what the fence promises, before the guard is armed.
    ArmFirst,
    /// Nothing starts while containers of an earlier Pod of the identity are alive, and no identity is for two Pods.
    OnePod,
    /// Revocation frees only what its Lease says is fenced.
    FreeTheFenced,
    /// An absent Lease of a session says nothing.
    AbsentSaysNothing,
}

/// Whether the rule is kept.
#[cfg(not(test))]
pub(crate) const fn is_kept(_: Rule) -> bool {
    true
}

#[cfg(test)]
pub(crate) use broken::{is_kept, with_broken};

#[cfg(test)]
mod broken {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    pub(crate) fn is_kept(rule: Rule) -> bool {
        BROKEN.get() != Some(rule)
    }

    /// What happens on this thread while one rule is broken.
    pub(crate) fn with_broken<T>(rule: Rule, act: impl FnOnce() -> T) -> T {
        BROKEN.set(Some(rule));
        let done = act();
        BROKEN.set(None);
        done
    }
}
