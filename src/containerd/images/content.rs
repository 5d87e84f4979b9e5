//! Blobs in containerd's content store, and the leases that keep them while an image is being put together.

use bytes::Bytes;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{
    CreateRequest, DeleteRequest, Info, InfoRequest, ReadContentRequest, UpdateRequest, WriteAction,
    WriteContentRequest, WriteContentResponse,
};
use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Request, Status, Streaming};
use futures::{Stream, StreamExt as _};
use prost_types::FieldMask;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::OWNER;
use super::layout::{DOCUMENT_BYTES_MAX, Descriptor};
use crate::containerd::error::absent_is_fine;
use crate::containerd::{Runtime, RuntimeError, owner};

/// Largest piece written at once; containerd takes messages of 16 MiB.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Keeps what is made under it from containerd's garbage collector until it is released.
#[derive(Clone)]
pub(super) struct ImageLease {
    id: String,
    header: MetadataValue<Ascii>,
}

/// What goes wrong while a blob is written: on our side of the stream, or on containerd's.
pub(super) enum WriteError<E> {
    Source(E),
    Runtime(RuntimeError),
    /// Another process writes the same blob now.
    Locked,
}

impl<E> From<Status> for WriteError<E> {
    fn from(status: Status) -> Self {
        if status.code() == Code::Unavailable && status.message().contains("locked") {
            return Self::Locked;
        }
        Self::Runtime(status.into())
    }
}

impl Runtime {
    /// Takes the lease `id`, or joins it when it is there.
    pub(super) async fn lease(&self, id: &str) -> Result<ImageLease, RuntimeError> {
        let labels = [(OWNER.to_owned(), owner::this())].into();
        let request = self.connection().request(CreateRequest { id: id.to_owned(), labels });
        match self.leases().create(request).await.map_err(RuntimeError::from) {
            Ok(_) | Err(RuntimeError::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
        let header = id.parse().map_err(|_| RuntimeError::Refused(format!("lease name {id:?}")))?;
        Ok(ImageLease { id: id.to_owned(), header })
    }

    /// Ends a lease; what nothing else refers to is collected.
    pub(super) async fn release(&self, lease: &ImageLease) -> Result<(), RuntimeError> {
        let request = self.connection().request(DeleteRequest { id: lease.id.clone(), sync: false });
        absent_is_fine(self.leases().delete(request).await.map(drop).map_err(RuntimeError::from))
    }

    fn leases(&self) -> LeasesClient<Channel> {
        self.connection().leases()
    }

    /// What containerd knows of a blob, none when it has not got it.
    pub(super) async fn blob_info(&self, digest: &str) -> Result<Option<Info>, RuntimeError> {
        let request = self.connection().request(InfoRequest { digest: digest.to_owned() });
        let answer = self.connection().content().info(request).await;
        absent_is_fine(answer.map(|a| a.into_inner().info).map_err(RuntimeError::from))
    }

    /// A document's bytes, none when containerd has not got it.
    pub(super) async fn document(&self, digest: &str) -> Result<Option<Vec<u8>>, RuntimeError> {
        let size = DOCUMENT_BYTES_MAX as i64;
        let request =
            self.connection().request(ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 });
        let mut stream = match self.connection().content().read(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(status.into()),
        };
        let mut bytes = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(piece)) => bytes.extend(piece.data),
                Ok(None) => return Ok(Some(bytes)),
                Err(status) if status.code() == Code::NotFound => return Ok(None),
                Err(status) => return Err(status.into()),
            }
            if bytes.len() as i64 > size {
                return Err(RuntimeError::Corrupt(format!("{digest} is no document: over {size} bytes")));
            }
        }
    }

    /// Sets labels of a blob that is there, keeping its others.
    pub(super) async fn label_blob(
        &self,
        lease: &ImageLease,
        digest: &str,
        labels: Vec<(String, String)>,
    ) -> Result<(), RuntimeError> {
        let paths = labels.iter().map(|(key, _)| format!("labels.{key}")).collect();
        let info =
            Info { digest: digest.to_owned(), labels: labels.into_iter().collect(), ..Info::default() };
        let request = UpdateRequest { info: Some(info), update_mask: Some(FieldMask { paths }) };
        self.connection().content().update(self.leased(lease, request)).await?;
        Ok(())
    }

    /// A bounded request whose results belong to the lease.
    pub(super) fn leased<T>(&self, lease: &ImageLease, message: T) -> Request<T> {
        let mut request = self.connection().request(message);
        request.metadata_mut().insert("containerd-lease", lease.header.clone());
        request
    }

    /// As [`Runtime::leased`], for work on a whole layer.
    pub(super) fn leased_patiently<T>(&self, lease: &ImageLease, message: T) -> Request<T> {
        let mut request = self.connection().patient(message);
        request.metadata_mut().insert("containerd-lease", lease.header.clone());
        request
    }

    /// Opens a blob for writing; none when containerd has it already.
    pub(super) async fn write_blob<E>(
        &self,
        lease: &ImageLease,
        blob: &Descriptor,
    ) -> Result<Option<BlobWriter>, WriteError<E>> {
        let (requests, stream) = mpsc::channel(1);
        let first = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: ingest_name(&blob.digest),
            total: blob.size as i64,
            expected: blob.digest.clone(),
            ..WriteContentRequest::default()
        };
        // The channel holds one, and we hold its receiver.
        let _ = requests.send(first).await;
        let mut request = self.connection().unbounded(ReceiverStream::new(stream));
        request.metadata_mut().insert("containerd-lease", lease.header.clone());
        let opened = async {
            let mut answers = self.connection().content().write(request).await?.into_inner();
            let state = answers.message().await?.unwrap_or_default();
            Ok::<_, Status>((answers, state.offset))
        };
        match opened.await {
            Ok((answers, offset)) => {
                Ok(Some(BlobWriter { requests, answers, offset: offset as u64, blob: blob.clone() }))
            }
            Err(status) if status.code() == Code::AlreadyExists => Ok(None),
            Err(status) => Err(status.into()),
        }
    }
}

/// containerd's name for a blob that is being written.
pub(super) fn ingest_name(digest: &str) -> String {
    format!("leasehold-{digest}")
}

/// A blob half written. What was written stays when it is dropped, and the next writer goes on from there.
pub(super) struct BlobWriter {
    requests: mpsc::Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
    /// Bytes that containerd has.
    pub(super) offset: u64,
    blob: Descriptor,
}

impl BlobWriter {
    /// Appends the rest, which begins at [`BlobWriter::offset`], and commits. containerd compares size and digest.
    pub(super) async fn append<E>(
        &mut self,
        mut rest: impl Stream<Item = Result<Bytes, E>> + Unpin,
        mut told: impl FnMut(u64),
    ) -> Result<(), WriteError<E>> {
        while let Some(piece) = rest.next().await {
            let mut piece = piece.map_err(WriteError::Source)?;
            while !piece.is_empty() {
                let data = piece.split_to(piece.len().min(CHUNK_BYTES_MAX));
                self.send(WriteAction::Write, data).await?;
                told(self.offset);
            }
        }
        match self.send(WriteAction::Commit, Bytes::new()).await {
            Err(status) if status.code() != Code::AlreadyExists => Err(status.into()),
            _ => Ok(()),
        }
    }

    async fn send(&mut self, action: WriteAction, data: Bytes) -> Result<(), Status> {
        let request = WriteContentRequest {
            action: action.into(),
            total: self.blob.size as i64,
            expected: self.blob.digest.clone(),
            offset: self.offset as i64,
            data: data.into(),
            ..WriteContentRequest::default()
        };
        // A closed channel means that the answer below is an error that says why.
        let _ = self.requests.send(request).await;
        if let Some(answer) = self.answers.message().await? {
            self.offset = answer.offset as u64;
        }
        Ok(())
    }
}
