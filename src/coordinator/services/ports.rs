//! Node ports.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::allotments::{Allotted, NODE_PORTS};
use super::{Allotting, fields, has_node_ports, kind, list, needs_health_check};
use crate::api::status::Status;

/// Ports of the new version without a node port keep the one they had: by name, or else by number and protocol.
pub(super) fn carry_over(new: &mut Value, old: &Value) {
    let mut had: Vec<&Value> = list(&old["spec"]["ports"]).iter().collect();
    let Some(ports) = fields(new).get_mut("ports").and_then(Value::as_array_mut) else { return };
    let stated: Vec<Value> = ports.iter().map(|port| port["nodePort"].clone()).collect();
    had.retain(|port| !stated.contains(&port["nodePort"]));
    let same = |a: &Value, b: &Value| {
        let protocol = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
        a["port"] == b["port"] && protocol(a) == protocol(b)
    };
    for port in ports.iter_mut().filter(|port| number(port) == 0) {
        let Some(index) = had.iter().position(|old| same(old, port) && number(old) != 0) else { continue };
        port["nodePort"] = had.remove(index)["nodePort"].clone();
    }
}

fn number(port: &Value) -> u64 {
    port["nodePort"].as_u64().unwrap_or(0)
}

impl Allotting<'_, '_> {
    /// A node port for each port of a Service that has them. Ports of one number with different protocols share it.
    pub(super) fn take_ports(&mut self, service: &mut Value) -> Result<(), Status> {
        if has_node_ports(service) {
            self.take_stated(service)?;
            if kind(service) != "LoadBalancer"
                || service["spec"]["allocateLoadBalancerNodePorts"].as_bool().unwrap_or(true)
            {
                self.take_others(service)?;
            }
        }
        if needs_health_check(service) {
            self.take_health_check(service)?;
        }
        Ok(())
    }

    fn take_stated(&mut self, service: &Value) -> Result<(), Status> {
        for (index, port) in list(&service["spec"]["ports"]).iter().enumerate() {
            let wanted = number(port);
            // Validation says what is wrong with a number that is no port.
            let Some(wanted) = u16::try_from(wanted).ok().filter(|wanted| *wanted > 0) else { continue };
            let shared = self.taken.contains(&Allotted::Port(wanted));
            if !shared && let Err(why) = self.take_port(wanted) {
                return Err(self.refuse(&format!("spec.ports[{index}].nodePort"), &port["nodePort"], &why));
            }
        }
        Ok(())
    }

    fn take_port(&mut self, wanted: u16) -> Result<(), String> {
        let port = Allotted::Port(wanted);
        let had = self.is_free(port) && !self.is_unused(port);
        if !had && !NODE_PORTS.contains(&wanted) {
            let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            ));
        }
        if !self.is_free(port) {
            return Err("provided port is already allocated".into());
        }
        self.taken.push(port);
        Ok(())
    }

    fn take_others(&mut self, service: &mut Value) -> Result<(), Status> {
        let mut by_port: BTreeMap<u64, u16> = BTreeMap::new();
        let all = list(&service["spec"]["ports"]);
        for port in all {
            if let (Some(port), Ok(given @ 1..)) = (port["port"].as_u64(), u16::try_from(number(port))) {
                by_port.entry(port).or_insert(given);
            }
        }
        for index in 0..all.len() {
            let port = &service["spec"]["ports"][index];
            if number(port) != 0 {
                continue;
            }
            let plain = port["port"].as_u64().unwrap_or(0);
            let given = match by_port.get(&plain) {
                Some(given) => *given,
                None => self.next_port("a nodePort")?,
            };
            by_port.insert(plain, given);
            service["spec"]["ports"][index]["nodePort"] = json!(given);
        }
        Ok(())
    }

    fn take_health_check(&mut self, service: &mut Value) -> Result<(), Status> {
        let stated = service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0);
        let given = match u16::try_from(stated) {
            Ok(0) => self.next_port("a HealthCheck NodePort")?,
            Ok(stated) => self.take_port(stated).map(|()| stated).map_err(|why| {
                Status::internal(format!("failed to allocate requested HealthCheck NodePort {stated}: {why}"))
            })?,
            Err(_) => return Ok(()),
        };
        fields(service).insert("healthCheckNodePort".into(), json!(given));
        Ok(())
    }

    fn next_port(&mut self, what: &str) -> Result<u16, Status> {
        let count = u128::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
        let drawn = self.draw() % count;
        let tried = (0..count).map(|step| NODE_PORTS.start() + ((drawn + step) % count) as u16);
        let free = tried.into_iter().find(|port| self.is_unused(Allotted::Port(*port)));
        let port =
            free.ok_or_else(|| Status::internal(format!("failed to allocate {what}: range is full")))?;
        self.taken.push(Allotted::Port(port));
        Ok(port)
    }
}
