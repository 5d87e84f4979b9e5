//! Whether a Pod can run on one node only, because of a volume that is there.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde::de::DeserializeOwned;

use crate::placement::volumes::tied_to;
use crate::steward::object::{Object, id};
use crate::steward::view::View;

/// Whether one of the Pod's volumes can be had on one node alone. A Pod that cannot be read may have such a one.
pub fn is_tied(pod: &Object, view: &View) -> bool {
    let Some(typed) = typed(pod) else { return true };
    let claim = |name: &str| {
        let claim = view.by_name(id("", "PersistentVolumeClaim"), pod.namespace(), name)?;
        self::typed::<PersistentVolumeClaim>(&claim)
    };
    let volume = |name: &str| {
        self::typed::<PersistentVolume>(view.by_name(id("", "PersistentVolume"), "", name)?.as_ref())
    };
    tied_to(&typed, claim, volume).is_some()
}

fn typed<T: DeserializeOwned>(object: &Object) -> Option<T> {
    serde_json::from_value(object.whole()).ok()
}
