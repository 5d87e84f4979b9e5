//! The door through which every write of a steward goes: does this agent still hold the shard of the object's root
//! owner, with enough of its session left for the write to arrive in time?

/// What this agent stewards. Cheap to clone; whoever is about to write asks it, object by object.
#[derive(Clone, Debug)]
pub struct Duty {
    holds: Holds,
}

#[derive(Clone, Copy, Debug)]
enum Holds {
    /// The only steward there is: that of `leasehold up`, beside its coordinator.
    Everything,
}

impl Duty {
    /// The duty of a cluster's only steward.
    pub fn of_the_only_steward() -> Self {
        Self { holds: Holds::Everything }
    }

    /// Whether what the monitor writes, about sessions and nodes, may leave now.
    pub fn may_write_nodes(&self) -> bool {
        match self.holds {
            Holds::Everything => true,
        }
    }

    /// Whether a write for the object whose root owner has this UID may leave now.
    pub fn may_write(&self, _root_uid: &str) -> bool {
        match self.holds {
            Holds::Everything => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_steward_may_write_everything() {
        let duty = Duty::of_the_only_steward();
        assert!(duty.may_write("3f2c") && duty.may_write_nodes());
    }
}
