//! What containerd may answer, by what the caller does next.

use std::error::Error as _;

use containerd_client::tonic::{Code, Status};

/// A call to containerd that did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuntimeError {
    /// containerd cannot be reached, or the connection broke: wait for [`RuntimeEvent::Connected`], then ask again.
    ///
    /// [`RuntimeEvent::Connected`]: super::RuntimeEvent::Connected
    #[error("containerd cannot be reached: {0} (does it run? --containerd-address names its socket)")]
    Unavailable(String),
    /// It took longer than the call's bound; whether it happened is unknown.
    #[error("containerd did not answer in time: {0}")]
    TimedOut(String),
    /// What was named is not there.
    #[error("{0}")]
    NotFound(String),
    /// What was to be made is there.
    #[error("{0}")]
    AlreadyExists(String),
    /// containerd (or runc) answered no, and will again.
    #[error("{0}")]
    Refused(String),
    /// What is stored cannot be read: a blob that is no manifest, a spec that is no JSON.
    #[error("{0}")]
    Corrupt(String),
}

impl From<Status> for RuntimeError {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        // A status with a source was made on this side: the transport failed, the server said nothing.
        if let Some(source) = status.source() {
            return Self::Unavailable(innermost(source));
        }
        match status.code() {
            Code::NotFound => Self::NotFound(message),
            Code::AlreadyExists => Self::AlreadyExists(message),
            Code::DeadlineExceeded | Code::Cancelled => Self::TimedOut(message),
            Code::Ok
            | Code::Unknown
            | Code::InvalidArgument
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
            | Code::Unauthenticated => Self::Refused(message),
        }
    }
}

/// The last error of the chain: `transport error` alone tells nobody anything.
fn innermost(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Whether an answer is "it is gone".
pub(super) fn absent_is_fine<T: Default>(answer: Result<T, RuntimeError>) -> Result<T, RuntimeError> {
    match answer {
        Err(RuntimeError::NotFound(_)) => Ok(T::default()),
        other => other,
    }
}
