//! `DaemonSet`.

use serde_json::Value;

use super::{
    AGE, NAME, age, items, labels, name, names_and_images, number, number_column, selector, text_column, wide,
};
use crate::api::kinds::Column;
use crate::time::WallTime;

/// `NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE`; wide: `CONTAINERS IMAGES SELECTOR`.
pub const DAEMON_SET: &[Column] = &[
    NAME,
    number_column("Desired", "How many nodes should run it."),
    number_column("Current", "How many of those run it."),
    number_column("Ready", "On how many of those it is ready."),
    number_column("Up-to-date", "On how many of those it is of the newest revision."),
    number_column("Available", "On how many of those it has been ready for minReadySeconds."),
    text_column("Node Selector", "The labels of the nodes that run it."),
    AGE,
    wide(text_column("Containers", "Names of each container in the template.")),
    wide(text_column("Images", "Images referenced by each container in the template.")),
    wide(text_column("Selector", "The labels of its Pods.")),
];

/// Cells of [`DAEMON_SET`].
pub fn daemon_set(object: &Value, now: WallTime) -> Vec<Value> {
    let status = |field: &str| Value::from(number(object, &format!("/status/{field}")));
    let (containers, images) = names_and_images(items(object, "/spec/template/spec/containers"));
    vec![
        name(object),
        status("desiredNumberScheduled"),
        status("currentNumberScheduled"),
        status("numberReady"),
        status("updatedNumberScheduled"),
        status("numberAvailable"),
        labels(object, "/spec/template/spec/nodeSelector").into(),
        age(object, now).into(),
        containers.into(),
        images.into(),
        selector(object, "/spec/selector").into(),
    ]
}
