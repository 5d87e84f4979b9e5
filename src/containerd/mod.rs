//! containerd, over its native gRPC API: images, snapshots, containers, tasks, events, exec.
//!
//! Effects. It may import the api and time rooms; it decides nothing about Pods. No CRI plugin is used, and nothing
//! newer than containerd 1.6.
//!
//! A container's way: [`Runtime::create`] (record, then snapshot: a snapshot without a record may be collected) →
//! [`Runtime::start`] (task in the shim of its Pod) → [`RuntimeEvent::Exited`] → [`Runtime::remove`]. Nothing is
//! polled: [`Runtime::events`] says [`RuntimeEvent::Connected`] whenever a list is due.
//!
//! [`spec::build`] turns a Pod's container into an OCI spec; it is pure.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use containerd_client::services::v1::PluginsRequest;
use jiff::Timestamp;

use crate::time::WallTime;

mod connection;
mod container;
mod error;
mod events;
mod exec;
mod images;
mod leftovers;
mod owner;
pub mod spec;

pub use connection::InvalidNamespace;
pub use container::{CreateRequest, Created, Listed, State, Stdio};
pub use error::RuntimeError;
pub use events::{Exited, RuntimeEvent};
pub use exec::ExecId;
pub use images::{
    Credentials, FindError, Image, ImageConfig, ImportError, InvalidReference, Progress, PullError,
    repository_of,
};

/// The snapshotter all images are unpacked with.
const SNAPSHOTTER: &str = "overlayfs";

/// A containerd, one namespace of it. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
    registry_config: Option<Arc<Path>>,
}

struct Inner {
    connection: connection::Connection,
    images: images::Memory,
    images_dir: OnceLock<PathBuf>,
}

impl Runtime {
    /// containerd at the socket `address`. Nothing is connected yet; a broken connection is made anew by the next call.
    /// Must be called inside a tokio runtime.
    pub fn new(address: &Path, namespace: &str) -> Result<Self, InvalidNamespace> {
        let connection = connection::Connection::new(address, namespace)?;
        Ok(Self {
            registry_config: None,
            inner: Arc::new(Inner {
                connection,
                images: images::Memory::default(),
                images_dir: OnceLock::new(),
            }),
        })
    }

    /// Pulls by the mirrors and authorities that `dir` names, as containerd's `certs.d`.
    #[must_use]
    pub fn with_registry_config(self, dir: &Path) -> Self {
        Self { registry_config: Some(dir.into()), ..self }
    }

    /// containerd's version, e.g. `1.6.20`.
    pub async fn version(&self) -> Result<String, RuntimeError> {
        self.connection().version().await
    }

    /// Where containerd unpacks images, once [`Self::find_images_dir`] has found it.
    pub fn images_dir(&self) -> Option<PathBuf> {
        self.inner.images_dir.get().cloned()
    }

    /// Asks containerd where it unpacks images.
    pub async fn find_images_dir(&self) -> Result<(), RuntimeError> {
        if self.inner.images_dir.get().is_some() {
            return Ok(());
        }
        let filters = vec![format!("type==io.containerd.snapshotter.v1,id=={SNAPSHOTTER}")];
        let request = self.connection().request(PluginsRequest { filters });
        let answer = self.connection().introspection().plugins(request).await?.into_inner();
        let root = answer.plugins.into_iter().find_map(|plugin| plugin.exports.get("root").cloned());
        let root =
            root.ok_or_else(|| RuntimeError::NotFound(format!("the root of snapshotter {SNAPSHOTTER}")))?;
        let _ = self.inner.images_dir.set(root.into());
        Ok(())
    }

    fn connection(&self) -> &connection::Connection {
        &self.inner.connection
    }
}

/// A protobuf time as ours; the epoch when it is none.
fn wall_time(at: Option<prost_types::Timestamp>) -> WallTime {
    let at = at.unwrap_or_default();
    WallTime(Timestamp::new(at.seconds, at.nanos).unwrap_or_default())
}
