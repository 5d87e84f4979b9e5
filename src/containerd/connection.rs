//! The channel to containerd: connects when first used, and again by itself after a break.

use std::path::Path;
use std::time::Duration;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::tonic::Request;
use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::transport::{Channel, Endpoint};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower::service_fn;

use super::RuntimeError;

/// Bound of one call, as the kubelet's `runtimeRequestTimeout`.
const CALL_TIMEOUT: Duration = Duration::from_mins(2);

/// Bound of unpacking one layer.
const UNPACK_TIMEOUT: Duration = Duration::from_mins(30);

/// Largest message taken, the most that containerd sends by default.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Longest containerd namespace, as containerd's own bound for identifiers.
const NAMESPACE_BYTES_MAX: usize = 76;

/// A name containerd would refuse as a namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "containerd namespace {0:?}: expected 1 to {NAMESPACE_BYTES_MAX} letters and digits, separated by '.', '_' or '-'"
)]
pub struct InvalidNamespace(pub String);

/// Clients of containerd's services, for one namespace.
pub(super) struct Connection {
    channel: Channel,
    namespace: String,
    header: MetadataValue<Ascii>,
}

impl Connection {
    /// Touches nothing yet. Must be called inside a tokio runtime.
    pub(super) fn new(address: &Path, namespace: &str) -> Result<Self, InvalidNamespace> {
        let header = (valid_identifier(namespace).then(|| namespace.parse().ok()).flatten())
            .ok_or_else(|| InvalidNamespace(namespace.to_owned()))?;
        let address = address.to_owned();
        // The authority is never resolved: the connector knows the socket.
        let channel =
            Endpoint::from_static("http://containerd").connect_with_connector_lazy(service_fn(move |_| {
                let address = address.clone();
                async move {
                    let stream = UnixStream::connect(&address).await;
                    stream
                        .map(TokioIo::new)
                        .map_err(|e| std::io::Error::new(e.kind(), format!("{}: {e}", address.display())))
                }
            }));
        Ok(Self { channel, namespace: namespace.to_owned(), header })
    }

    /// The namespace all requests are about.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A bounded request in this namespace.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.unbounded(message);
        request.set_timeout(CALL_TIMEOUT);
        request
    }

    /// A request that may take as long as a large layer does.
    pub(super) fn patient<T>(&self, message: T) -> Request<T> {
        let mut request = self.unbounded(message);
        request.set_timeout(UNPACK_TIMEOUT);
        request
    }

    /// A request that lasts until its stream ends.
    pub(super) fn unbounded<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.header.clone());
        request
    }

    pub(super) fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn diff(&self) -> DiffClient<Channel> {
        DiffClient::new(self.channel.clone())
    }

    pub(super) fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn introspection(&self) -> IntrospectionClient<Channel> {
        IntrospectionClient::new(self.channel.clone())
    }

    pub(super) fn leases(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// containerd's version, e.g. `1.6.20`.
    pub(super) async fn version(&self) -> Result<String, RuntimeError> {
        let answer = VersionClient::new(self.channel.clone()).version(self.request(())).await?;
        Ok(answer.into_inner().version)
    }
}

fn valid_identifier(name: &str) -> bool {
    name.len() <= NAMESPACE_BYTES_MAX
        && name
            .split(['.', '_', '-'])
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_containerd_would_refuse_is_refused_by_name() {
        for good in ["leasehold", "k8s.io", "t-1_2"] {
            assert!(valid_identifier(good), "{good}");
        }
        for bad in ["", "a b", "-a", "a-", "a..b", "ä", &"x".repeat(77)] {
            assert!(!valid_identifier(bad), "{bad}");
        }
        assert!(InvalidNamespace("a b".into()).to_string().contains("\"a b\""));
    }
}
