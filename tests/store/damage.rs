//! What a start says of a directory that it cannot use, and that it leaves it alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use leasehold::driver::coordinator::{StartError, start};
use rusqlite::Connection;
use serde_json::json;

use crate::server::{Server, config};

/// Every file below a directory, with its bytes.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    found
}

/// A directory in which a coordinator has worked and stopped.
async fn used_directory() -> Arc<tempfile::TempDir> {
    let server = Server::start().await;
    for number in 0..200 {
        let name = format!("c-{number}");
        let body = json!({ "metadata": { "name": name }, "data": { "text": "x".repeat(500) } });
        assert_eq!(server.post("/api/v1/namespaces/default/configmaps", &body).await.0, 201);
    }
    let directory = server.directory.clone();
    server.running.stop().await;
    directory
}

async fn refusal_after(damage: impl FnOnce(&Path)) -> String {
    let directory = used_directory().await;
    let data = directory.path().join("data");
    damage(&data);
    let before = contents(&data);
    let error = start(config(&data, "127.0.0.1:0")).await.expect_err("it is refused");
    assert!(matches!(error, StartError::Store(_)), "{error}");
    assert!(contents(&data) == before, "the directory was touched: {error}");
    error.to_string()
}

fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    let mut content = fs::read(path).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path, content).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_a_newer_format_is_named_with_both_formats_and_left_alone() {
    let said = refusal_after(|data| overwrite(&data.join("store.db"), 60, &7_u32.to_be_bytes())).await;
    assert!(said.contains("store.db has format 7, this version reads up to 1"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_pages_are_told_and_left_alone() {
    let said = refusal_after(|data| {
        let path = data.join("store.db");
        let pages = fs::metadata(&path).unwrap().len() as usize / 4096;
        for page in 4..pages {
            overwrite(&path, page * 4096, &[0xa5; 64]);
        }
    })
    .await;
    assert!(said.contains("store.db is damaged") && said.contains("restore it from a backup"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_store_of_ours_is_left_alone() {
    for text in ["", "a text that somebody put here"] {
        let said = refusal_after(|data| {
            let long = if text.is_empty() { "short".to_owned() } else { text.repeat(100) };
            fs::write(data.join("store.db"), long).unwrap();
        })
        .await;
        assert!(said.contains("is damaged or not a leasehold store"), "{said}");
    }
    let said = refusal_after(|data| {
        fs::remove_file(data.join("store.db")).unwrap();
        let other = Connection::open(data.join("store.db")).unwrap();
        other.execute_batch("CREATE TABLE t (x)").unwrap();
    })
    .await;
    assert!(said.contains("the database of another program"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_cannot_be_read_is_named_and_left_alone() {
    let tamper = |statement: &'static str| {
        move |data: &Path| {
            let store = Connection::open(data.join("store.db")).unwrap();
            store.execute(statement, []).unwrap();
            store.pragma_update(None, "journal_mode", "DELETE").unwrap();
        }
    };
    let said =
        refusal_after(tamper("UPDATE object SET value = CAST('{\"metadata' AS BLOB) WHERE name = 'c-7'"))
            .await;
    assert!(said.contains("/configmaps default/c-7 is not an object"), "{said}");
    let said = refusal_after(tamper("UPDATE object SET resource = 'x.org/frogs' WHERE name = 'c-7'")).await;
    assert!(said.contains("x.org/frogs default/c-7, which this version does not serve"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_coordinator_on_the_same_directory_is_refused() {
    let server = Server::start().await;
    let error = start(config(&server.data(), "127.0.0.1:0")).await.expect_err("it is refused");
    assert!(error.to_string().contains("is in use by another process"), "{error}");
    assert_eq!(server.get("/api/v1/namespaces/default").await.0, 200);
    server.running.stop().await;
}
