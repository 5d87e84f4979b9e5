//! Where a container sees its volumes: mounts and block devices.

use std::collections::BTreeSet;

use super::files::{descends, has_backsteps};
use super::spec::Around;
use crate::api::validation::spot::{Errors, Spot};

/// `volumeMounts` of a container.
pub(super) fn volume_mounts(container: &Spot<'_>, around: &Around<'_>, errors: &mut Errors) {
    let at = container.at("volumeMounts");
    let devices = pairs(&container.at("volumeDevices"), "devicePath");
    let mut paths = BTreeSet::new();
    for mount in at.items() {
        let (name, path) = (mount.at("name"), mount.at("mountPath"));
        errors.must_be_set(&name);
        if !around.volumes.contains_key(name.text()) {
            errors.not_found(&name);
        }
        errors.must_be_set(&path);
        if !paths.insert(path.text()) {
            errors.invalid(&path, "must be unique");
        }
        if devices.iter().any(|(device, _)| *device == name.text()) {
            errors.invalid(&name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|(_, device)| *device == path.text()) {
            errors.invalid(&path, "must not already exist as a path in volumeDevices");
        }
        sub_paths(&at, &mount, around, errors);
        propagation(&at, &mount, container, errors);
        recursive_read_only(&at, &mount, errors);
    }
}

/// Upstream tells these errors at the list, without the index.
fn sub_paths(list: &Spot<'_>, mount: &Spot<'_>, around: &Around<'_>, errors: &mut Errors) {
    let [path, expression] = ["subPath", "subPathExpr"].map(|field| mount.at(field));
    let is_image =
        around.volumes.get(mount.at("name").text()).is_some_and(|volume| volume.get("image").is_some());
    for at in [&path, &expression] {
        if is_image && !at.is_empty() {
            errors.invalid(at, "not allowed in image volume sources");
        }
    }
    if !path.is_empty() {
        descends(&list.at("subPath").with(path.value), errors);
    }
    if !expression.is_empty() {
        if !path.is_empty() {
            errors.invalid(&expression, "subPathExpr and subPath are mutually exclusive");
        }
        descends(&list.at("subPathExpr").with(expression.value), errors);
    }
}

fn propagation(list: &Spot<'_>, mount: &Spot<'_>, container: &Spot<'_>, errors: &mut Errors) {
    let at = list.at("mountPropagation").with(mount.at("mountPropagation").value);
    errors.one_of_if_set(&at, &["Bidirectional", "HostToContainer", "None"]);
    if at.text() == "Bidirectional" && !container.at("securityContext.privileged").is_true() {
        errors.forbidden(&at, "Bidirectional mount propagation is available only to privileged containers");
    }
}

fn recursive_read_only(list: &Spot<'_>, mount: &Spot<'_>, errors: &mut Errors) {
    let at = list.at("recursiveReadOnly").with(mount.at("recursiveReadOnly").value);
    errors.one_of_if_set(&at, &["Disabled", "Enabled", "IfPossible"]);
    if matches!(at.text(), "Enabled" | "IfPossible") {
        if !mount.at("readOnly").is_true() {
            errors.forbidden(&at, "may only be specified when readOnly is true");
        }
        if !matches!(mount.at("mountPropagation").text(), "" | "None") {
            errors.forbidden(&at, "may only be specified when mountPropagation is None or not specified");
        }
    }
}

/// `volumeDevices` of a container.
pub(super) fn volume_devices(container: &Spot<'_>, around: &Around<'_>, errors: &mut Errors) {
    let mounts = pairs(&container.at("volumeMounts"), "mountPath");
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for device in container.at("volumeDevices").items() {
        let (name, path) = (device.at("name"), device.at("devicePath"));
        errors.must_be_set(&name);
        if !name.is_empty() && !names.insert(name.text()) {
            errors.invalid(&name, "must be unique");
        }
        match around.volumes.get(name.text()) {
            Some(volume) if volume.get("persistentVolumeClaim").or(volume.get("ephemeral")).is_none() => {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&name, detail);
            }
            Some(_) => {}
            None => errors.not_found(&name),
        }
        errors.must_be_set(&path);
        if paths.contains(path.text()) {
            errors.invalid(&path, "must be unique");
        }
        if has_backsteps(path.text()) {
            errors.invalid(&path, "can not contain backsteps ('..')");
        } else {
            paths.insert(path.text());
        }
        if mounts.iter().any(|(mount, _)| *mount == name.text()) {
            errors.invalid(&name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|(_, mount)| *mount == path.text()) {
            errors.invalid(&path, "must not already exist as a path in volumeMounts");
        }
    }
}

fn pairs<'a>(at: &Spot<'a>, path: &str) -> Vec<(&'a str, &'a str)> {
    at.items().map(|it| (it.at("name").text(), it.at(path).text())).collect()
}
