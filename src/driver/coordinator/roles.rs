//! The roles and bindings that every cluster has: made on first start, and completed later by what a newer version
//! brings. What people added stays; who sets the annotation `autoupdate` to false is left alone.

use serde_json::Value;

use super::writer::Writer;
use crate::api::kinds::{self, Kind};
use crate::authorization::rbac::GROUP;
use crate::authorization::shipped::{self, completed};
use crate::coordinator::{Action, Command, Subresource};
use crate::driver::entropy::SystemEntropy;

/// Makes and completes them.
pub(super) fn write(writer: &mut Writer) -> Result<(), String> {
    let row = |kind| kinds::by_kind(GROUP, "v1", kind).ok_or_else(|| format!("no kind {kind} is served"));
    for (kind, objects) in
        [(row("ClusterRole")?, shipped::cluster_roles()), (row("ClusterRoleBinding")?, shipped::bindings())]
    {
        let commands: Vec<Command> = objects.iter().filter_map(|object| due(writer, kind, object)).collect();
        let commands: Vec<&Command> = commands.iter().collect();
        for answer in writer.commit(&commands, &mut SystemEntropy).map_err(|e| e.to_string())? {
            answer.map_err(|status| status.message)?;
        }
    }
    Ok(())
}

fn due(writer: &Writer, kind: &'static Kind, object: &Value) -> Option<Command> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let action = match writer.view.get(kind, "", name) {
        None => Action::Create { body: object.clone() },
        Some(there) => {
            let body = completed(&there.value(), object)?;
            Action::Update { name: name.into(), subresource: Subresource::Main, body }
        }
    };
    Some(Command::new(kind, "", action))
}
