//! Probes and hooks on real containers, as kubectl shows them.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{BUSYBOX, Up};

/// A Pod of one container on the node's network, with `more` merged into the container and `pod` into the Pod's spec.
fn pod(name: &str, script: &str, more: &Value, pod: &Value) -> String {
    let mut container = json!({ "name": "main", "image": BUSYBOX, "command": ["sh", "-c", script] });
    merge(&mut container, more);
    let mut spec = json!({ "nodeName": "n1", "hostNetwork": true, "terminationGracePeriodSeconds": 5,
        "containers": [container] });
    merge(&mut spec, pod);
    let metadata = json!({ "name": name, "labels": { "app": name } });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }).to_string() + "\n"
}

fn merge(target: &mut Value, more: &Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        target[key] = value.clone();
    }
}

fn exec(script: &str, period: u32, failures: u32) -> Value {
    // Patient, where the machine does other work too.
    json!({ "exec": { "command": ["sh", "-c", script] }, "periodSeconds": period, "failureThreshold": failures,
        "timeoutSeconds": 20 })
}

fn container(up: &Up, pod: &str) -> Value {
    up.json(&["get", "pod", pod])["status"]["containerStatuses"][0].clone()
}

fn ready_condition(up: &Up, pod: &str) -> Value {
    let status = up.json(&["get", "pod", pod])["status"].clone();
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default()
}

/// Messages of a Pod's Events with this reason.
fn events(up: &Up, pod: &str, reason: &str) -> Vec<String> {
    let selector = format!("involvedObject.name={pod},reason={reason}");
    let list = up.json(&["get", "events", "--field-selector", &selector]);
    let messages = list["items"].as_array().into_iter().flatten();
    messages.filter_map(|event| event["message"].as_str().map(str::to_owned)).collect()
}

fn event(up: &Up, pod: &str, reason: &str, wanted: &str) {
    up.until(&format!("{reason} of {pod}: {wanted}"), || {
        events(up, pod, reason).iter().any(|message| message.contains(wanted)).then_some(())
    });
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("bound").port()
}

#[test]
fn readiness_follows_a_file_liveness_restarts_and_startup_holds_both_off() {
    let Some(up) = Up::start(&[]) else { return };
    let none = json!({});
    let ready = json!({ "readinessProbe": exec("test -f /tmp/ready || { echo not yet; exit 7; }", 1, 1) });
    let ill = json!({ "livenessProbe": exec("test ! -f /tmp/ill", 1, 2) });
    let slow = json!({ "startupProbe": exec("test -f /tmp/up", 1, 60), "livenessProbe": exec("test -f /tmp/up", 1, 1),
        "readinessProbe": exec("true", 1, 1) });
    let mut stuck = json!({ "readinessProbe": exec("sleep 20", 1, 1) });
    stuck["readinessProbe"]["timeoutSeconds"] = json!(1);
    let absent = json!({ "readinessProbe": { "exec": { "command": ["no-such-program"] } } });
    let rest = "exec sleep infinity";
    up.apply(
        &(pod("late", rest, &ready, &none)
            + &pod("ill", "sleep 3; touch /tmp/ill; exec sleep infinity", &ill, &none)
            + &pod("slow", "sleep 4; touch /tmp/up; exec sleep infinity", &slow, &none)
            + &pod("stuck", rest, &stuck, &none)
            + &pod("absent", rest, &absent, &none)),
    );
    event(&up, "late", "Unhealthy", "Readiness probe failed: not yet");
    let late = container(&up, "late");
    assert_eq!((&late["started"], &late["ready"]), (&json!(true), &json!(false)), "{late}");
    let why = ready_condition(&up, "late");
    assert_eq!(why["message"], "containers with unready status: [main]", "{why}");
    let slow = container(&up, "slow");
    assert_eq!(slow["ready"], false, "{slow}");
    up.ok(&["exec", "late", "--", "touch", "/tmp/ready"]);
    up.running("app=late");
    up.ok(&["exec", "late", "--", "rm", "/tmp/ready"]);
    up.until("it is not ready any more", || {
        (ready_condition(&up, "late")["status"] == "False").then_some(())
    });

    up.running("app=slow");
    let slow = container(&up, "slow");
    assert_eq!((&slow["restartCount"], &slow["started"]), (&json!(0), &json!(true)), "{slow}");
    event(&up, "slow", "Unhealthy", "Startup probe failed: ");

    up.until("the ill one is restarted", || {
        (container(&up, "ill")["restartCount"].as_u64()? > 0).then_some(())
    });
    event(&up, "ill", "Unhealthy", "Liveness probe failed: ");
    event(&up, "ill", "Killing", "Container main failed liveness probe, will be restarted");
    event(
        &up,
        "stuck",
        "Unhealthy",
        "Readiness probe failed: command timed out: \"sh -c sleep 20\" timed out after 1s",
    );
    event(&up, "absent", "Unhealthy", "Readiness probe errored and resulted in unknown state: ");
    assert_eq!(container(&up, "absent")["ready"], false);

    let described = up.ok(&["describe", "pod", "slow"]);
    for part in
        ["Startup:", "exec [sh -c test -f /tmp/up] delay=0s timeout=20s period=1s #success=1 #failure=60"]
    {
        assert!(described.contains(part), "{part}: {described}");
    }
    // What a probe has started and did not end goes with it.
    up.until("no stuck probe is left", || {
        let found = up.ok(&["exec", "stuck", "--", "sh", "-c", "ps | grep -c '[s]leep 20' || true"]);
        (found.trim().parse::<u32>().ok()? <= 1).then_some(())
    });
}

/// Gives the node a CNI configuration that leaves nothing on this machine once its Pods are gone.
fn give_network(up: &Up, subnet: &str) -> bool {
    if !Path::new("/usr/lib/cni/ptp").exists() {
        eprintln!("skipped: the CNI plugins are not installed");
        return false;
    }
    let network = json!({
        "cniVersion": "1.0.0", "name": "test", "type": "ptp",
        "ipam": { "type": "host-local", "dataDir": up.dir.join("ipam"), "ranges": [[{ "subnet": subnet }]] },
    });
    fs::create_dir_all(up.dir.join("cni")).expect("writable");
    fs::write(up.dir.join("cni/10-test.conf"), network.to_string()).expect("writable");
    true
}

#[test]
fn http_and_tcp_probes_reach_containers_on_the_nodes_network_and_on_their_own() {
    let Some(up) = Up::start(&[]) else { return };
    let none = json!({});
    let own = json!({ "hostNetwork": false });
    let web = free_port();
    let serve = |port: u16| format!("echo here > /www/health; exec httpd -f -p {port} -h /www");
    let get = |port: Value, path: &str| {
        let ports = json!([{ "name": "web", "containerPort": 8080 }]);
        json!({ "ports": ports, "readinessProbe": { "httpGet": { "port": port, "path": path }, "periodSeconds": 1 } })
    };
    let tcp = |port: u16| json!({ "readinessProbe": { "tcpSocket": { "port": port }, "periodSeconds": 1 } });
    let mut on_node = get(json!(web), "/health?of=it");
    on_node["ports"] = json!([{ "containerPort": web }]);
    up.apply(
        &(pod("node", &serve(web), &on_node, &none)
            + &pod("closed", "exec sleep infinity", &tcp(free_port()), &none)),
    );
    up.running("app=node");
    event(&up, "closed", "Unhealthy", "connect: connection refused");
    assert_eq!(container(&up, "closed")["ready"], false);
    if !give_network(&up, "10.213.18.0/24") {
        return;
    }
    up.apply(
        &(pod("named", &serve(8080), &get(json!("web"), "health"), &own)
            + &pod("tcp", &serve(9000), &tcp(9000), &own)
            + &pod("lost", &serve(8080), &get(json!("web"), "/absent"), &own)
            + &pod("nameless", &serve(8080), &get(json!("other"), "/"), &own)),
    );
    up.running("app=named");
    up.running("app=tcp");
    event(&up, "lost", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404");
    let unknown = "Readiness probe errored and resulted in unknown state: strconv.Atoi: parsing \"other\": invalid syntax";
    event(&up, "nameless", "Unhealthy", unknown);
}

/// A directory of the node that Pods write to.
fn shared(up: &Up) -> (PathBuf, Value) {
    let dir = up.dir.join("shared");
    fs::create_dir_all(&dir).expect("writable");
    let volumes = json!({ "volumes": [{ "name": "shared", "hostPath": { "path": dir } }] });
    (dir, volumes)
}

#[test]
fn hooks_run_after_the_start_and_before_the_stop_and_a_failed_start_hook_ends_its_container() {
    let Some(up) = Up::start(&[]) else { return };
    let (dir, volumes) = shared(&up);
    let mounts = json!([{ "name": "shared", "mountPath": "/shared" }]);
    let command = |script: &str| json!({ "exec": { "command": ["sh", "-c", script] } });
    let told = json!({ "volumeMounts": mounts, "lifecycle": {
        "postStart": command("echo started >> /shared/told"),
        "preStop": command("echo stopping >> /shared/told; sleep 1; echo stopped >> /shared/told") } });
    let faithful = "trap 'echo asked >> /shared/told; exit 0' TERM; while true; do sleep 0.1; done";
    let failing = json!({ "lifecycle": { "postStart": command("echo no; exit 3") } });
    let late = json!({ "volumeMounts": mounts, "lifecycle": { "preStop": { "sleep": { "seconds": 60 } } } });
    let deaf = "trap 'echo deaf >> /shared/late' TERM; while true; do sleep 0.1; done";
    let patient = json!({ "terminationGracePeriodSeconds": 3, "volumes": volumes["volumes"] });
    let rest = "trap 'exit 0' TERM; while true; do sleep 0.1; done";
    up.apply(
        &(pod("told", faithful, &told, &volumes)
            + &pod("failing", rest, &failing, &json!({}))
            + &pod(
                "late",
                deaf,
                &late,
                &json!({ "volumes": patient["volumes"], "terminationGracePeriodSeconds": 60 }),
            )),
    );
    up.running("app=told");
    assert_eq!(fs::read_to_string(dir.join("told")).expect("the hook wrote"), "started\n");
    event(&up, "failing", "FailedPostStartHook", "PostStartHook failed");
    event(&up, "failing", "Killing", "FailedPostStartHook");
    up.until("the status says which hook failed, and why", || {
        let state = container(&up, "failing")["state"]["waiting"].clone();
        let message = state["message"].as_str()?;
        let expected =
            "Exec lifecycle hook ([sh -c echo no; exit 3]) for Container \"main\" in Pod \"failing_default(";
        (state["reason"] == "PostStartHookError" && message.starts_with(expected)).then_some(())
    });
    up.until("the failing one waits longer and longer", || {
        (container(&up, "failing")["state"]["waiting"]["reason"] == "CrashLoopBackOff").then_some(())
    });
    up.running("app=late");
    let begun = std::time::Instant::now();
    up.ok(&["delete", "pod", "told"]);
    assert_eq!(
        fs::read_to_string(dir.join("told")).expect("it wrote"),
        "started\nstopping\nstopped\nasked\n"
    );
    assert!(begun.elapsed().as_secs_f64() >= 1.0);

    // The hook outlasts the grace: the container is asked when that is over, and gets two seconds more.
    let begun = std::time::Instant::now();
    up.ok(&["delete", "pod", "late", "--grace-period=3"]);
    let took = begun.elapsed().as_secs_f64();
    assert!((5.0..20.0).contains(&took), "{took} s");
    assert_eq!(fs::read_to_string(dir.join("late")).expect("it was asked"), "deaf\n");
    up.ok(&["delete", "pod", "failing"]);
}

#[test]
fn a_pods_group_owns_its_volumes_and_is_one_of_its_processes_groups() {
    let Some(up) = Up::start(&[]) else { return };
    let script = "id -G; stat -c '%g %a' /data /data/sub; mkdir /data/new; stat -c %g /data/new; echo x > /data/f; \
                  stat -c %g /data/f; exec sleep infinity";
    let mounts = json!({ "volumeMounts": [{ "name": "data", "mountPath": "/data" },
        { "name": "map", "mountPath": "/data/sub" }], "securityContext": { "runAsUser": 1000 } });
    let security = |policy: &str| {
        json!({ "securityContext": { "fsGroup": 4242, "fsGroupChangePolicy": "OnRootMismatch",
            "supplementalGroups": [5000], "supplementalGroupsPolicy": policy },
            "volumes": [{ "name": "data", "emptyDir": {} }, { "name": "map", "configMap": { "name": "map" } }] })
    };
    up.ok(&["create", "configmap", "map", "--from-literal=key=value"]);
    up.apply(
        &(pod("merged", script, &mounts, &security("Merge"))
            + &pod("strict", script, &mounts, &security("Strict"))),
    );
    for (name, groups) in [("merged", "2000 3000 5000 4242"), ("strict", "2000 5000 4242")] {
        up.running(&format!("app={name}"));
        let log = up.until("its log", || Some(up.ok(&["logs", name])).filter(|log| log.lines().count() >= 5));
        let lines: Vec<&str> = log.lines().collect();
        let mut found: Vec<&str> = lines[0].split(' ').collect();
        let mut expected: Vec<&str> = groups.split(' ').collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}: {log}");
        assert_eq!(lines[1], "4242 2777", "{name}: {log}");
        assert!(lines[2].starts_with("4242 "), "{name}: {log}");
        assert_eq!(&lines[3..5], ["4242", "4242"], "{name}: {log}");
    }
}

/// All that a flip or a restart would change.
fn seen(up: &Up, pod: &str) -> Value {
    let status = up.json(&["get", "pod", pod])["status"].clone();
    json!([status["conditions"], status["containerStatuses"], status["phase"]])
}

#[test]
fn i5_the_death_of_the_agent_flips_no_readiness_and_restarts_nothing_amid_probes_and_hooks() {
    let Some(mut up) = Up::start(&[]) else { return };
    let none = json!({});
    let probes = |ready: &str| {
        json!({ "startupProbe": exec("true", 1, 5), "readinessProbe": exec(ready, 1, 3),
            "livenessProbe": exec("sleep 0.3", 1, 2) })
    };
    let rest = "trap 'exit 0' TERM; while true; do sleep 0.1; done";
    let slow_hook = json!({ "lifecycle": { "postStart": { "exec": { "command": ["sleep", "6"] } } } });
    up.apply(
        &(pod("good", rest, &probes("sleep 0.3"), &none)
            + &pod("bad", rest, &probes("sleep 0.3; test -f /tmp/good"), &none)
            + &pod("hooked", rest, &slow_hook, &none)),
    );
    up.running("app=good");
    event(&up, "bad", "Unhealthy", "Readiness probe failed");
    let before = [seen(&up, "good"), seen(&up, "bad")];
    for _ in 0..6 {
        up.kill();
        up.boot();
        std::thread::sleep(std::time::Duration::from_millis(900));
        assert_eq!([seen(&up, "good"), seen(&up, "bad")], before);
    }
    up.running("app=hooked");
    let hooked = container(&up, "hooked");
    assert_eq!(hooked["restartCount"], 0, "{hooked}");
    // Probes go on: what they find counts.
    up.ok(&["exec", "bad", "--", "touch", "/tmp/good"]);
    up.running("app=bad");
    assert_eq!(seen(&up, "good"), before[0]);
}

#[test]
fn kubectl_debug_looks_into_a_running_pod_beside_its_processes() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&pod("busy", "sleep 98765; true", &json!({}), &json!({})));
    up.running("app=busy");
    let before = container(&up, "busy");
    let image = format!("--image={BUSYBOX}");
    let look = ["debug", "busy", &image, "--target=main", "-c", "look", "--", "sh", "-c", "ps; exit 3"];
    up.ok(&look);
    let ended = up.until("it has looked", || {
        let pod = up.json(&["get", "pod", "busy"]);
        let status = pod["status"]["ephemeralContainerStatuses"][0].clone();
        (status["state"]["terminated"]["exitCode"] == 3).then_some(status)
    });
    assert_eq!(ended["restartCount"], 0, "{ended}");
    let seen = up.ok(&["logs", "busy", "-c", "look"]);
    assert!(seen.contains("sleep 98765"), "{seen}");
    // One that is talked to.
    let talk =
        ["debug", "-i", "-q", "busy", &image, "-c", "talk", "--", "sh", "-c", "read word; echo got $word"];
    let said = up.kubectl_with_input(&talk, "frog\n");
    let words = String::from_utf8_lossy(&said.stdout).into_owned();
    let logs = up
        .until("it has answered", || Some(up.ok(&["logs", "busy", "-c", "talk"])).filter(|l| !l.is_empty()));
    assert_eq!(logs, "got frog\n", "{words}");
    assert_eq!(container(&up, "busy"), before);
    up.ok(&["delete", "pod", "busy"]);
}
