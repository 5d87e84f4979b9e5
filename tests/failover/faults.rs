//! I1 for real: agents that are cut off, hang or die, under a StatefulSet of three; what each container writes tells
//! whether two of one identity ever ran together, and how long a failover took.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use leasehold::driver::clock;
use serde_json::Value;

use crate::node::{Fault, Node};
use crate::support::{BUSYBOX, Up};

/// D and M, seconds.
const D: u64 = 10;
const M: u64 = 3;
/// What a failover may take beyond D and M.
const SLACK: Duration = Duration::from_secs(3);
/// Replicas, and nodes for them.
const COUNT: usize = 3;
/// How many faults, where that is not said.
const FAULTS: usize = 3;
/// How long anything but a failover may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// One line of a container.
#[derive(Clone, Debug, PartialEq)]
struct Beat {
    epoch: i32,
    at: Duration,
    node: String,
}

struct Bed {
    nodes: Vec<Node>,
    up: Up,
    out: PathBuf,
}

fn replica(index: usize) -> String {
    format!("web-{index}")
}

impl Bed {
    fn start() -> Option<Self> {
        let duration = format!("--session-duration={D}");
        let up = Up::start(&[&duration, "--register-with-taints", "for=stewards:NoSchedule"])?;
        let mut nodes = Vec::new();
        for index in 0..COUNT {
            nodes.push(Node::join(&up, &format!("w{index}"), &[&duration])?);
        }
        let out = up.dir.join("out");
        std::fs::create_dir_all(&out).expect("made");
        let script = "while :; do read up rest < /proc/uptime; echo \"$LEASEHOLD_EPOCH $up $NODE\" >> /out/$POD; \
                      usleep 10000; done";
        let field = |name: &str, path: &str| {
            format!("{{ name: {name}, valueFrom: {{ fieldRef: {{ fieldPath: {path} }} }} }}")
        };
        up.apply(&format!(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{ name: web }}\nspec: {{ replicas: {COUNT}, serviceName: web, \
             podManagementPolicy: Parallel, selector: {{ matchLabels: {{ app: web }} }}, template: {{ metadata: {{ labels: \
             {{ app: web }} }}, spec: {{ hostNetwork: true, terminationGracePeriodSeconds: 1, volumes: [{{ name: out, \
             hostPath: {{ path: '{}' }} }}], containers: [{{ name: main, image: '{BUSYBOX}', command: [sh, -c, '{script}'], \
             env: [{}, {}], volumeMounts: [{{ name: out, mountPath: /out }}] }}] }} }} }}\n",
            out.display(),
            field("POD", "metadata.name"),
            field("NODE", "spec.nodeName"),
        ));
        Some(Self { nodes, up, out })
    }

    fn beats(&self, index: usize) -> Vec<Beat> {
        let said = std::fs::read_to_string(self.out.join(replica(index))).unwrap_or_default();
        said.lines().filter_map(beat).collect()
    }

    fn last(&self, index: usize) -> Option<Beat> {
        last(&self.out.join(replica(index)))
    }

    fn until<T>(&self, what: &str, patience: Duration, mut found: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            let pods = || self.up.ok(&["get", "pods,leases,nodes", "-A", "-o", "wide"]);
            assert!(start.elapsed() < patience, "{what}: not within {patience:?}\n{}", pods());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All is well: the Pods run where they are bound, all nodes are ready, and nothing else runs anywhere.
    fn is_calm(&self) -> bool {
        let pods = self.up.json(&["get", "pods", "-l", "app=web"]);
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let ready = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array();
            object["metadata"]["deletionTimestamp"].is_null()
                && conditions
                    .is_some_and(|all| all.iter().any(|it| it["type"] == "Ready" && it["status"] == "True"))
        };
        let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
        for pod in &pods {
            *by_node.entry(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        let runs = |node: &Node| node.running() == by_node.get(&node.name).copied().unwrap_or_default();
        pods.len() == COUNT
            && pods.iter().all(ready)
            && self.up.json(&["get", "nodes"])["items"].as_array().is_some_and(|all| all.iter().all(ready))
            && self.nodes.iter().all(runs)
    }

    /// One fault, from the moment that it strikes to the moment that all is well again: how long the failover took.
    fn strike(&mut self, fault: Fault, index: usize) -> Duration {
        let before = self.last(index).expect("it runs");
        let victim = self.nodes.iter().position(|node| node.name == before.node).expect("one of ours");
        let struck = clock::now().since_boot();
        self.nodes[victim].suffer(fault);
        let taken = self.until("the identity is taken over", Duration::from_secs(3 * (D + M)), || {
            self.last(index).filter(|beat| beat.epoch > before.epoch)
        });
        let first =
            self.beats(index).into_iter().find(|beat| beat.epoch > before.epoch).expect("it was seen");
        let took = first.at.saturating_sub(struck);
        println!(
            "{fault:?} of {}: {} failed over to {} in {took:.2?} (epoch {})",
            before.node,
            replica(index),
            taken.node,
            first.epoch
        );
        self.nodes[victim].recover(fault);
        self.until("all is well again", PATIENCE, || self.is_calm().then_some(()));
        took
    }

    /// Epochs only grow, in the order in which lines were written, and each is one node's.
    fn i1_holds(&self) {
        for index in 0..COUNT {
            let beats = self.beats(index);
            for pair in beats.windows(2) {
                assert!(
                    pair[0].epoch < pair[1].epoch
                        || (pair[0].epoch, &pair[0].node) == (pair[1].epoch, &pair[1].node),
                    "two containers of {} ran together: {pair:?}",
                    replica(index)
                );
            }
        }
    }
}

fn beat(line: &str) -> Option<Beat> {
    let mut words = line.split(' ');
    let (epoch, at, node) = (words.next()?, words.next()?, words.next()?);
    Some(Beat {
        epoch: epoch.parse().ok()?,
        at: Duration::from_secs_f64(at.parse().ok()?),
        node: node.to_owned(),
    })
}

/// The last whole line of a file that grows.
fn last(path: &Path) -> Option<Beat> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(512))).ok()?;
    let mut tail = String::new();
    file.read_to_string(&mut tail).ok()?;
    tail.lines().rev().find_map(beat)
}

#[test]
fn i1_faults_of_agents_move_identities_in_time_and_never_run_two_containers_of_one() {
    let Some(mut bed) = Bed::start() else { return };
    let faults = std::env::var("FAILOVER_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(FAULTS);
    bed.until("the StatefulSet runs", PATIENCE, || bed.is_calm().then_some(()));
    let mut longest = Duration::ZERO;
    for number in 0..faults {
        let fault = [Fault::Partition, Fault::Stop, Fault::Kill][number % 3];
        longest = longest.max(bed.strike(fault, number / 3 % COUNT));
        bed.i1_holds();
    }
    println!("{faults} faults, the longest failover {longest:.2?}");
    let bound = Duration::from_secs(D + M) + SLACK;
    assert!(longest <= bound, "the longest failover took {longest:?}, not {bound:?}");
}
