//! The official Python client: `python/*.py`, each a test module of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::server::Server;
use crate::support::Up;

/// Runs one module of unittest.
fn run(module: &str, kubeconfig: &Path) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python");
    let output = Command::new(crate::client("venv/bin/python"))
        .args(["-B", "-m", "unittest", "-v", module])
        .current_dir(tests)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_gets_along_with_the_endpoint() {
    let server = Server::start().await;
    let kubeconfig = server.directory.path().join("kubeconfig");
    tokio::task::spawn_blocking(move || run("test_endpoint", &kubeconfig)).await.expect("passed");
    server.running.stop().await;
}

#[test]
fn the_python_client_streams_from_a_node() {
    let Some(up) = Up::start(&[]) else { return };
    run("test_node", &up.kubeconfig());
}
