use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::api::kinds;
use crate::coordinator::state::{Object, State};

/// Draws the same every time.
struct Fixed;
impl Entropy for Fixed {
    fn uid(&mut self) -> String {
        "u".into()
    }
    fn suffix(&mut self) -> String {
        "bcdfg".into()
    }
}

struct World {
    state: State,
}

impl World {
    fn new(ranges: &[&str]) -> Self {
        let ranges = ranges.iter().map(|text| text.parse().expect("a range")).collect();
        Self { state: State { allotments: Allotments::new(ranges), ..State::default() } }
    }

    fn key(name: &str) -> Key {
        Key::new(kinds::by_kind("", "v1", "Service").expect("served"), "a", name)
    }

    fn put(&mut self, value: &Value) {
        let kind = kinds::by_kind("", "v1", "Service").expect("served");
        let mut draft = Draft::new(&self.state);
        draft.put(Arc::new(Object::encode(kind, value.clone(), draft.next_revision())));
        let (changes, revision) = draft.into_changes();
        self.state.apply(&changes, revision);
    }

    fn remove(&mut self, value: &Value) {
        let kind = kinds::by_kind("", "v1", "Service").expect("served");
        let mut draft = Draft::new(&self.state);
        let last = Arc::new(Object::encode(kind, value.clone(), draft.next_revision()));
        draft.remove(&last.key.clone(), last);
        let (changes, revision) = draft.into_changes();
        self.state.apply(&changes, revision);
    }

    #[expect(clippy::needless_pass_by_value, reason = "specs are written in place, as json!")]
    fn try_create(&mut self, name: &str, spec: Value) -> Result<Value, String> {
        let mut service = json!({ "metadata": { "name": name, "namespace": "a" }, "spec": spec });
        let draft = Draft::new(&self.state);
        prepare_new(&mut service, Self::key(name), &draft, &mut Fixed).map_err(|status| status.message)?;
        self.put(&service);
        Ok(service)
    }

    fn create(&mut self, name: &str, spec: Value) -> Value {
        self.try_create(name, spec).expect("allotted")
    }

    fn try_update(&mut self, old: &Value, new: &Value) -> Result<Value, String> {
        let name = old["metadata"]["name"].as_str().expect("a name").to_owned();
        let mut new = new.clone();
        let draft = Draft::new(&self.state);
        let done = prepare_update(&mut new, old, Self::key(&name), &draft, &mut Fixed);
        done.map_err(|status| status.message)?;
        self.put(&new);
        Ok(new)
    }
}

fn with_spec(service: &Value, changes: &Value) -> Value {
    let mut changed = service.clone();
    for (field, value) in changes.as_object().expect("a map") {
        if value.is_null() {
            changed["spec"].as_object_mut().expect("a map").remove(field);
        } else {
            changed["spec"][field] = value.clone();
        }
    }
    changed
}

fn ports(numbers: &[(u64, u64)]) -> Value {
    let port = |(port, node): &(u64, u64)| match node {
        0 => json!({ "port": port }),
        node => json!({ "port": port, "nodePort": node }),
    };
    numbers.iter().map(port).collect()
}

#[test]
fn every_service_has_an_address_of_its_own_until_it_is_deleted() {
    let mut world = World::new(&["10.0.0.0/28"]);
    let mut given = std::collections::BTreeSet::new();
    let mut made = Vec::new();
    // Sixteen, less network, broadcast and the first, which is the endpoint's.
    for index in 0..13 {
        let service = world.create(&format!("s{index}"), json!({}));
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
        assert_eq!(service["spec"]["ipFamilyPolicy"], "SingleStack");
        assert_eq!(service["spec"]["clusterIPs"][0], service["spec"]["clusterIP"]);
        assert!(given.insert(service["spec"]["clusterIP"].to_string()), "{service}");
        made.push(service);
    }
    assert!(!given.contains("\"10.0.0.1\""));
    assert_eq!(
        world.try_create("more", json!({})).unwrap_err(),
        "Internal error occurred: failed to allocate a serviceIP: range is full"
    );
    world.remove(&made[4]);
    assert_eq!(world.create("more", json!({}))["spec"]["clusterIP"], made[4]["spec"]["clusterIP"]);
}

#[test]
fn an_address_that_is_asked_for_is_given_once_and_within_the_range() {
    let mut world = World::new(&["10.96.0.0/12"]);
    assert_eq!(
        world.create("kubernetes", json!({ "clusterIP": "10.96.0.1" }))["spec"]["clusterIPs"][0],
        "10.96.0.1"
    );
    assert_eq!(
        world.try_create("x", json!({ "clusterIP": "10.96.0.1" })).unwrap_err(),
        "Service \"x\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.1\"]: failed to allocate IP 10.96.0.1: \
         provided IP is already allocated"
    );
    for outside in ["192.0.2.1", "10.96.0.0", "10.111.255.255"] {
        assert_eq!(
            world.try_create("x", json!({ "clusterIP": outside })).unwrap_err(),
            format!(
                "Service \"x\" is invalid: spec.clusterIPs: Invalid value: [\"{outside}\"]: failed to allocate IP \
                 {outside}: the provided IP ({outside}) is not in the valid range. The range of valid IPs is 10.96.0.0/12"
            )
        );
    }
    assert_eq!(
        world.try_create("x", json!({ "clusterIP": "fd00::1" })).unwrap_err(),
        "Service \"x\" is invalid: spec.clusterIPs[0]: Invalid value: [\"fd00::1\"]: IPv6 is not configured on this cluster"
    );
}

#[test]
fn headless_and_external_services_get_no_address() {
    let mut world = World::new(&["10.96.0.0/12"]);
    let selector = json!({ "app": "x" });
    let headless = world.create("h", json!({ "clusterIP": "None", "selector": selector }));
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(headless["spec"]["ipFamilies"], json!(["IPv4"]));
    let bare = world.create("b", json!({ "clusterIP": "None" }));
    assert_eq!(bare["spec"]["ipFamilyPolicy"], "RequireDualStack");
    assert_eq!(bare["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    let external = world.create("e", json!({ "type": "ExternalName", "externalName": "example.org" }));
    assert!(external["spec"]["clusterIP"].is_null() && external["spec"]["ipFamilies"].is_null());
}

#[test]
fn a_cluster_of_two_families_gives_one_of_each_to_those_who_ask() {
    let mut world = World::new(&["10.96.0.0/16", "fd00::/112"]);
    let single = world.create("s", json!({}));
    assert_eq!(single["spec"]["clusterIPs"].as_array().map(Vec::len), Some(1));
    let dual = world.create("d", json!({ "ipFamilyPolicy": "PreferDualStack" }));
    assert_eq!(dual["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert!(dual["spec"]["clusterIPs"][1].as_str().is_some_and(|ip| ip.starts_with("fd00::")), "{dual}");
    let v6 = world.create("v6", json!({ "ipFamilies": ["IPv6"] }));
    assert!(v6["spec"]["clusterIP"].as_str().is_some_and(|ip| ip.starts_with("fd00::")));
    let smaller = with_spec(&dual, &json!({ "ipFamilyPolicy": "SingleStack" }));
    let smaller = world.try_update(&dual, &smaller).unwrap();
    assert_eq!(smaller["spec"]["clusterIPs"], json!([dual["spec"]["clusterIPs"][0]]));
    let again = world.create("again", json!({ "clusterIP": dual["spec"]["clusterIPs"][1] }));
    assert_eq!(again["spec"]["ipFamilies"], json!(["IPv6"]), "what was given back is free");

    let mut one = World::new(&["10.96.0.0/16"]);
    assert_eq!(
        one.try_create("x", json!({ "ipFamilyPolicy": "RequireDualStack" })).unwrap_err(),
        "Service \"x\" is invalid: spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not \
         configured for dual-stack services"
    );
    assert_eq!(
        one.try_create("x", json!({ "ipFamilies": ["IPv6"] })).unwrap_err(),
        "Service \"x\" is invalid: spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"
    );
}

#[test]
fn node_ports_are_of_their_range_and_of_one_service() {
    let mut world = World::new(&["10.96.0.0/12"]);
    let plain = world.create("p", json!({ "type": "ClusterIP", "ports": ports(&[(80, 0)]) }));
    assert!(plain["spec"]["ports"][0]["nodePort"].is_null());
    let mut taken = Vec::new();
    for index in 0..20 {
        let name = format!("n{index}");
        let service =
            world.create(&name, json!({ "type": "NodePort", "ports": ports(&[(80, 0), (443, 0)]) }));
        for port in service["spec"]["ports"].as_array().unwrap() {
            let number = port["nodePort"].as_u64().unwrap();
            assert!((30000..=32767).contains(&number) && !taken.contains(&number), "{number}");
            taken.push(number);
        }
    }
    let both = json!([{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]);
    let dns = world.create("dns", json!({ "type": "NodePort", "ports": both }));
    assert_eq!(dns["spec"]["ports"][0]["nodePort"], dns["spec"]["ports"][1]["nodePort"]);
    let asked = |port: u64| json!({ "type": "NodePort", "ports": ports(&[(80, port)]) });
    assert_eq!(
        world.try_create("x", asked(80)).unwrap_err(),
        "Service \"x\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. \
         The range of valid ports is 30000-32767"
    );
    assert_eq!(
        world.try_create("x", asked(taken[0])).unwrap_err(),
        format!(
            "Service \"x\" is invalid: spec.ports[0].nodePort: Invalid value: {}: provided port is already allocated",
            taken[0]
        )
    );
}

#[test]
fn applying_a_manifest_again_keeps_what_was_given_out() {
    let mut world = World::new(&["10.96.0.0/12"]);
    let manifest = json!({ "type": "NodePort", "ports": ports(&[(80, 0), (443, 0)]) });
    let made = world.create("s", manifest);
    let again = with_spec(
        &made,
        &json!({ "clusterIP": null, "clusterIPs": null, "ipFamilies": null, "ports": ports(&[(443, 0), (80, 0), (8080, 0)]) }),
    );
    let kept = world.try_update(&made, &again).unwrap();
    assert_eq!(kept["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    assert_eq!(kept["spec"]["ports"][0]["nodePort"], made["spec"]["ports"][1]["nodePort"]);
    assert_eq!(kept["spec"]["ports"][1]["nodePort"], made["spec"]["ports"][0]["nodePort"]);
    assert!(kept["spec"]["ports"][2]["nodePort"].is_u64());

    let plain = world.try_update(&kept, &with_spec(&kept, &json!({ "type": "ClusterIP" }))).unwrap();
    assert!(plain["spec"]["ports"][0]["nodePort"].is_null(), "a type without node ports gives them back");
    let freed = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    world.create("other", json!({ "type": "NodePort", "ports": ports(&[(80, freed)]) }));

    let external = with_spec(&plain, &json!({ "type": "ExternalName", "externalName": "example.org" }));
    let external = world.try_update(&plain, &external).unwrap();
    assert!(external["spec"]["clusterIP"].is_null());
    let address = made["spec"]["clusterIP"].clone();
    world.create("third", json!({ "clusterIP": address }));
    let back = world.try_update(&external, &with_spec(&external, &json!({ "type": "ClusterIP" }))).unwrap();
    assert!(back["spec"]["clusterIP"].is_string() && back["spec"]["clusterIP"] != made["spec"]["clusterIP"]);
}

#[test]
fn a_load_balancer_may_do_without_node_ports_and_asks_for_its_health_on_one() {
    let mut world = World::new(&["10.96.0.0/12"]);
    let bare = json!({
        "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports(&[(80, 0)]),
    });
    assert!(world.create("bare", bare)["spec"]["ports"][0]["nodePort"].is_null());
    let local =
        json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports(&[(80, 0)]) });
    let local = world.create("local", local);
    let (health, port) = (&local["spec"]["healthCheckNodePort"], &local["spec"]["ports"][0]["nodePort"]);
    assert!(health.is_u64() && port.is_u64() && health != port);
    let cluster = with_spec(&local, &json!({ "externalTrafficPolicy": "Cluster" }));
    let cluster = world.try_update(&local, &cluster).unwrap();
    assert!(cluster["spec"]["healthCheckNodePort"].is_null());
}

#[test]
fn ranges_are_read_as_people_write_them() {
    let range = |text: &str| text.parse::<ServiceRange>().map(|range| range.to_string());
    assert_eq!(range("10.96.1.2/12").as_deref(), Ok("10.96.0.0/12"));
    assert_eq!(range("fd00:1::/108").as_deref(), Ok("fd00:1::/108"));
    for odd in ["10.96.0.0", "x/12", "10.96.0.0/33", "10.96.0.0/29", "10.96.0.0/-1"] {
        let error = range(odd).unwrap_err().to_string();
        assert!(error.contains("ADDRESS/BITS"), "{error}");
    }
    let first: ServiceRange = "10.96.0.0/12".parse().unwrap();
    assert_eq!(first.api_server().to_string(), "10.96.0.1");
}
