//! A coordinator that knows one Lease and one Node, by the rules of the API: compare-and-swap, exclusive creation, a
//! write that changes nothing changes no version.

use k8s_openapi::api::coordination::v1::Lease;
use leasehold::lease::session::Answer;
use leasehold::lease::wire;
use leasehold::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct LeaseStore {
    lease: Option<Lease>,
    node_registered: bool,
    version: u64,
    uid: u64,
}

impl LeaseStore {
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Reads the Lease; where it is absent, makes the Node. `sent` is when the reader's machine asked, by its clock.
    pub(crate) fn read(&mut self, sent: Instant) -> Answer {
        if let Some(lease) = &self.lease {
            return Answer::Found(Box::new(lease.clone()));
        }
        let was_there = std::mem::replace(&mut self.node_registered, true);
        Answer::Absent { node_made: (!was_there).then_some(sent) }
    }

    pub(crate) fn create(&mut self, mut lease: Lease) -> Answer {
        if self.lease.is_some() {
            return Answer::Conflict;
        }
        self.uid += 1;
        lease.metadata.uid = Some(format!("uid{}", self.uid));
        self.store(lease)
    }

    pub(crate) fn update(&mut self, lease: Lease) -> Answer {
        let Some(current) = &self.lease else { return Answer::Absent { node_made: None } };
        if wire::version(current) != wire::version(&lease) || wire::uid(current) != wire::uid(&lease) {
            return Answer::Conflict;
        }
        if *current == lease {
            return Answer::Written(Box::new(lease));
        }
        self.store(lease)
    }

    /// Breaks the session, as the monitor does.
    pub(crate) fn revoke(&mut self) {
        if let Some(mut lease) = self.lease.take() {
            lease.spec.get_or_insert_default().holder_identity = Some(String::new());
            self.store(lease);
        }
    }

    /// Loses the Lease, finalizer or not.
    pub(crate) fn lose(&mut self) {
        self.lease = None;
    }

    fn store(&mut self, mut lease: Lease) -> Answer {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Answer::Written(Box::new(lease))
    }
}
