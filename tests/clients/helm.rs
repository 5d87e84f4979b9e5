//! Helm: a chart is installed, upgraded, rolled back and removed.

use std::path::Path;

use crate::server::Server;
use crate::session::{self, Terminal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chart_is_installed_upgraded_rolled_back_and_removed() {
    let server = Server::start().await;
    let directory = server.directory.path().to_owned();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    std::os::unix::fs::symlink(tests.join("chart"), directory.join("chart")).expect("linked");
    let helm = crate::client("bin/helm");
    let played = tokio::task::spawn_blocking(move || {
        let (tools, kubeconfig) = (helm.parent().expect("a folder"), directory.join("kubeconfig"));
        let terminal = Terminal { directory: &directory, tools, kubeconfig: &kubeconfig };
        session::play(&tests.join("helm.txt"), &terminal)
    });
    let played = played.await.expect("joined");
    assert_eq!(played, Ok(()), "{}", played.clone().err().unwrap_or_default());
    server.running.stop().await;
}
