//! Logs and exec, passed on to a node.

use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn placeholder_until_written() {
    let server = Server::start().await;
    server.running.stop().await;
}
