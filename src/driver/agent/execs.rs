//! thin
use crate::api::status::Status;
use crate::containerd::{Exited, Runtime};
use crate::server::node::ExecRequest;
#[derive(Debug, Default)]
pub(super) struct Execs;
#[derive(Debug)]
pub(super) struct Execution;
impl Execs {
    pub(super) fn exited(&self, _: &Exited) {}
    pub(super) async fn start(&self, _: &Runtime, _: &str, _: ExecRequest) -> Result<Execution, Status> {
        Err(Status::internal("exec is not there yet"))
    }
}
impl crate::server::node::Execution for Execution {
    async fn wait(&self) -> Result<i32, Status> {
        Ok(0)
    }
    async fn resize(&self, _: u16, _: u16) {}
    async fn close_stdin(&self) {}
    async fn kill(&self) {}
}
