//! Merge patches: a valid object or a refusal; twice is as once.

use crate::api::patch::{MERGE_PATCH, Patch};
use crate::coordinator::{Action, Outcome, Subresource};

/// One run.
pub fn run(data: &[u8]) {
    let mut data = data;
    let Some((mut endpoint, kind, form)) = super::choose(&mut data) else { return };
    let text = if form % 2 == 0 {
        data.to_vec()
    } else {
        super::change(kind, super::number(&mut data)).to_string().into_bytes()
    };
    let Ok(patch) = Patch::parse(MERGE_PATCH, &text) else { return };
    let subresource = if form % 4 == 3 && kind.has_status { Subresource::Status } else { Subresource::Main };
    let mut act =
        || endpoint.act(kind, Action::Patch { name: "x".into(), subresource, patch: patch.clone() });
    let Ok(once) = act() else { return };
    // What names a version or an end of the object is another matter the second time.
    let names_version = super::object(&once).is_none_or(|it| !it["metadata"]["deletionTimestamp"].is_null())
        || String::from_utf8_lossy(&text).contains("resourceVersion");
    if names_version {
        return;
    }
    let again = act().unwrap_or_else(|e| panic!("{e:?}\n{}", String::from_utf8_lossy(&text)));
    assert!(again.outcome == Outcome::Unchanged, "{}", String::from_utf8_lossy(&text));
    endpoint.is_settled(kind, "x");
}
