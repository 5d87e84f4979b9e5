//! I4: what was acknowledged survives kill -9.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold::server::tls::Identity;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{answer, client};

const WRITERS: usize = 64;
const KILLS: usize = 50;
const ACKNOWLEDGED_MIN: usize = 10_000;
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A coordinator in a process of its own, killed with this value.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(["--log", "warn", "coordinator", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = lines.find_map(|line| {
            let line = line.expect("text");
            Some(line.split_once("ready on ")?.1.split(':').take(2).collect::<Vec<_>>().join(":"))
        });
        let Some(address) = ready else {
            panic!("the coordinator ended before it was ready: {:?}", child.wait());
        };
        Self { child, url: format!("https://{address}") }
    }

    fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("reaped");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an object is: its text and version; none when it is gone.
type Known = Option<(String, String)>;

/// What one writer knows of its objects.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<String, Known>,
    /// A write that was sent and not answered, and the text it would leave.
    in_doubt: Option<(String, Option<String>)>,
}

fn identity(data: &Path) -> (String, Identity) {
    let read =
        |name: &str| std::fs::read_to_string(data.join("pki").join(name)).expect("written at the start");
    (read("ca.crt"), Identity { certificate_pem: read("admin.crt"), key_pem: read("admin.key") })
}

/// Creates, changes and deletes its own objects until the coordinator is gone.
async fn write(
    http: reqwest::Client,
    url: String,
    writer: usize,
    round: usize,
    ledger: &Mutex<Ledger>,
    acknowledged: &AtomicUsize,
    stop: &AtomicBool,
) {
    for step in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("w-{writer}-{}", step % 4);
        let known = ledger.lock().unwrap().acknowledged.get(&name).cloned().flatten();
        let text = format!("{round}-{step}-{}", "z".repeat(600));
        let body = json!({ "metadata": { "name": name }, "data": { "text": text } });
        let (method, path, body, after) = match (&known, step % 7) {
            (None, _) => (Method::POST, CONFIG_MAPS.to_owned(), body, Some(text)),
            (Some(_), 6) => (Method::DELETE, format!("{CONFIG_MAPS}/{name}"), json!({}), None),
            (Some(_), _) => (Method::PUT, format!("{CONFIG_MAPS}/{name}"), body, Some(text)),
        };
        ledger.lock().unwrap().in_doubt = Some((name.clone(), after.clone()));
        let request = http
            .request(method, format!("{url}{path}"))
            .header("content-type", "application/json")
            .body(body.to_string());
        let Ok(response) = request.send().await else { return };
        let code = response.status().as_u16();
        let Ok(bytes) = response.bytes().await else { return };
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert!((200..300).contains(&code), "{code} {value}");
        let version = value["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let mut ledger = ledger.lock().unwrap();
        ledger.in_doubt = None;
        ledger.acknowledged.insert(name, after.map(|text| (text, version)));
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// Holds the store against the ledgers, and settles what was in doubt.
async fn compare(http: &reqwest::Client, url: &str, ledgers: &[Mutex<Ledger>]) {
    let (code, list) = answer(http.get(format!("{url}{CONFIG_MAPS}")).send().await.expect("answered")).await;
    assert_eq!(code, 200);
    let revision: u64 = list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
    for item in list["items"].as_array().unwrap() {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (name, version) = (text(&item["metadata"]["name"]), text(&item["metadata"]["resourceVersion"]));
        assert!(version.parse::<u64>().unwrap() <= revision);
        if name.starts_with("w-") {
            found.insert(name, (text(&item["data"]["text"]), version));
        }
    }
    for ledger in ledgers {
        let mut ledger = ledger.lock().unwrap();
        let in_doubt = ledger.in_doubt.take();
        for (name, known) in &mut ledger.acknowledged {
            let stored = found.remove(name);
            let Some((_, after)) = in_doubt.as_ref().filter(|(doubtful, _)| doubtful == name) else {
                assert_eq!(stored, *known, "{name}");
                continue;
            };
            let happened = stored.as_ref().map(|(text, _)| text) == after.as_ref();
            assert!(happened || stored == *known, "{name}: {stored:?} is neither {known:?} nor {after:?}");
            *known = stored;
        }
        if let Some((name, after)) = in_doubt.filter(|(name, _)| found.contains_key(name)) {
            let stored = found.remove(&name);
            assert_eq!(stored.as_ref().map(|(text, _)| text.clone()), after, "{name}");
            ledger.acknowledged.insert(name, stored);
        }
        let versions =
            ledger.acknowledged.values().flatten().map(|(_, version)| version.parse::<u64>().unwrap());
        assert!(versions.max().unwrap_or(0) <= revision);
    }
    assert!(found.is_empty(), "nobody wrote these: {:?}", found.keys());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_nothing_acknowledged_is_lost_over_fifty_kills_under_sixty_four_writers() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let ledgers: Arc<Vec<Mutex<Ledger>>> = Arc::new((0..WRITERS).map(|_| Mutex::default()).collect());
    let acknowledged = Arc::new(AtomicUsize::new(0));
    for round in 0..=KILLS {
        let mut process = Process::start(&data);
        let (ca, admin) = identity(&data);
        let http = client(&ca, Some(&admin));
        compare(&http, &process.url, &ledgers).await;
        if round == KILLS {
            break;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (ledgers, acknowledged, stop) = (ledgers.clone(), acknowledged.clone(), stop.clone());
                let (http, url) = (http.clone(), process.url.clone());
                tokio::spawn(async move {
                    write(http, url, writer, round, &ledgers[writer], &acknowledged, &stop).await;
                })
            })
            .collect();
        // Kills fall at different places of the commit: after a number of writes that differs from round to round.
        let goal = ACKNOWLEDGED_MIN * (round + 1) / KILLS + 7 * (round % 11);
        let enough = async {
            while acknowledged.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), enough).await.expect("writes go on");
        process.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.expect("every answer was a success");
        }
    }
    let total = acknowledged.load(Ordering::Relaxed);
    assert!(total >= ACKNOWLEDGED_MIN, "{total}");
}
