//! Events about a Pod, in upstream's words.

use super::health::Why;
use super::interface::{Effect, ImageFailure, Pull};
use super::probe::ProbeKind;
use super::retry::go_duration;
use super::spec::Role;

/// One Event before it is said of which container.
#[derive(Clone, Debug)]
pub(super) struct Event {
    warning: bool,
    reason: &'static str,
    message: String,
}

impl Event {
    fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: false, reason, message: message.into() }
    }

    fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into() }
    }

    /// About the Pod, or one container of it.
    pub(super) fn about(self, field_path: Option<String>) -> Effect {
        let Self { warning, reason, message } = self;
        Effect::Record { warning, reason, field_path, message }
    }

    pub(super) fn pulling(image: &str) -> Self {
        Self::normal("Pulling", format!("Pulling image \"{image}\""))
    }

    pub(super) fn pulled(image: &str, pull: &Pull) -> Self {
        let (took, waited) = (go_duration(pull.took), go_duration(pull.waited));
        let size = pull.size_bytes;
        Self::normal(
            "Pulled",
            format!(
                "Successfully pulled image \"{image}\" in {took} ({waited} including waiting). Image size: {size} bytes."
            ),
        )
    }

    pub(super) fn present(image: &str) -> Self {
        Self::normal("Pulled", format!("Container image \"{image}\" already present on machine"))
    }

    /// Why an image is not to be had, as it is said when it is tried.
    pub(super) fn image_failed(image: &str, reason: ImageFailure, message: &str) -> Self {
        match reason {
            ImageFailure::ErrImagePull => {
                Self::warning("Failed", format!("Failed to pull image \"{image}\": {message}"))
            }
            ImageFailure::ErrImageNeverPull => Self::warning("ErrImageNeverPull", never_pull(image)),
            ImageFailure::InvalidImageName => Self::warning("InspectFailed", invalid_name(image, message)),
        }
    }

    pub(super) fn back_off_pulling(image: &str) -> Self {
        Self::normal("BackOff", format!("Back-off pulling image \"{image}\""))
    }

    /// `Error: …`, for whatever keeps a container from starting.
    pub(super) fn failed(message: &str) -> Self {
        Self::warning("Failed", format!("Error: {message}"))
    }

    pub(super) fn created() -> Self {
        Self::normal("Created", "Container created")
    }

    pub(super) fn started() -> Self {
        Self::normal("Started", "Container started")
    }

    pub(super) fn back_off_restarting(container: &str, pod: &str) -> Self {
        Self::warning("BackOff", format!("Back-off restarting failed container {container} in pod {pod}"))
    }

    pub(super) fn stopping(container: &str) -> Self {
        Self::normal("Killing", format!("Stopping container {container}"))
    }

    pub(super) fn definition_changed(container: &str) -> Self {
        Self::normal("Killing", format!("Container {container} definition changed, will be restarted"))
    }

    /// `message` may be empty.
    pub(super) fn probe_failed(kind: ProbeKind, message: &str) -> Self {
        Self::warning("Unhealthy", format!("{} probe failed: {message}", kind.title()))
    }

    pub(super) fn probe_unknown(kind: ProbeKind, message: &str) -> Self {
        let title = kind.title();
        Self::warning("Unhealthy", format!("{title} probe errored and resulted in unknown state: {message}"))
    }

    pub(super) fn probe_warning(kind: ProbeKind, message: &str) -> Self {
        Self::warning("ProbeWarning", format!("{} probe warning: {message}", kind.title()))
    }

    /// A container is ended for what was found of it.
    pub(super) fn condemned(container: &str, role: Role, why: Why, restarts: bool) -> Self {
        let probe = match why {
            Why::PostStart => return Self::normal("Killing", "FailedPostStartHook"),
            Why::Liveness => "liveness",
            Why::Startup => "startup",
        };
        let message = match role {
            Role::Init | Role::Sidecar => format!("Init container {container} failed {probe} probe"),
            Role::Main | Role::Ephemeral if restarts => {
                format!("Container {container} failed {probe} probe, will be restarted")
            }
            Role::Main | Role::Ephemeral => format!("Container {container} failed {probe} probe"),
        };
        Self::normal("Killing", message)
    }

    /// What the hook has said may be secret.
    pub(super) fn post_start_failed() -> Self {
        Self::warning("FailedPostStartHook", "PostStartHook failed")
    }

    pub(super) fn pre_stop_failed() -> Self {
        Self::warning("FailedPreStopHook", "PreStopHook failed")
    }

    pub(super) fn sandbox_failed(message: &str) -> Self {
        Self::warning("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {message}"))
    }

    pub(super) fn sandbox_changed() -> Self {
        Self::normal("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
    }

    pub(super) fn mount_failed(message: &str) -> Self {
        Self::warning("FailedMount", message)
    }

    pub(super) fn kill_failed(message: &str) -> Self {
        Self::warning("FailedKillPod", format!("error killing pod: {message}"))
    }

    pub(super) fn identity_held(message: &str) -> Self {
        Self::warning("IdentityHeld", message)
    }

    pub(super) fn identity_lost(message: &str) -> Self {
        Self::warning(IDENTITY_LOST, message)
    }

    pub(super) fn deadline_exceeded() -> Self {
        Self::normal(DEADLINE_EXCEEDED, DEADLINE_EXCEEDED_MESSAGE)
    }
}

/// Reason of a Pod that was active for too long.
pub(super) const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// What is said of it.
pub(super) const DEADLINE_EXCEEDED_MESSAGE: &str =
    "Pod was active on the node longer than the specified deadline";

/// Reason of a Pod whose identity another Pod has.
pub(super) const IDENTITY_LOST: &str = "IdentityLost";

/// The waiting message of a container whose image may not be pulled.
pub(super) fn never_pull(image: &str) -> String {
    format!("Container image \"{image}\" is not present with pull policy of Never")
}

/// The waiting message of a container whose image reference cannot be read.
pub(super) fn invalid_name(image: &str, message: &str) -> String {
    format!("Failed to apply default image tag \"{image}\": {message}")
}
