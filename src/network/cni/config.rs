//! The host's CNI configuration: which file counts, and the plugins it lists.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::CniError;

/// Versions of the CNI specification that are spoken here, oldest first.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A list of plugins that together attach a Pod to one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkList {
    /// The network's name.
    pub name: String,
    /// The version of the specification spoken with its plugins, one of [`VERSIONS`].
    pub version: String,
    /// `CHECK` does not suit this network.
    pub disable_check: bool,
    /// The plugins' own configurations, in order.
    pub plugins: Vec<Map<String, Value>>,
}

impl NetworkList {
    /// Reads the text of a `.conflist`, or of a `.conf` or `.json` with one plugin; `file` names it in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, CniError> {
        let wrong = |problem: String| CniError::Configuration { file: file.to_owned(), problem };
        let whole: Map<String, Value> =
            serde_json::from_str(text).map_err(|e| wrong(format!("not a JSON object: {e}")))?;
        let plugins = match whole.get("plugins") {
            Some(plugins) => serde_json::from_value::<Vec<Map<String, Value>>>(plugins.clone())
                .map_err(|e| wrong(format!("field plugins: {e}")))?,
            None => vec![whole.clone()],
        };
        if plugins.is_empty() {
            return Err(wrong("field plugins: expected at least one plugin".to_owned()));
        }
        if let Some(at) = plugins.iter().position(|plugin| plugin_type(plugin).is_none()) {
            return Err(wrong(format!("field plugins[{at}].type: expected the name of a plugin")));
        }
        let name =
            text_field(&whole, "name").ok_or_else(|| wrong("field name: expected a name".to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
            version: version(&whole).map_err(wrong)?,
            disable_check: flag(&whole, "disableCheck"),
            plugins,
        })
    }

    /// Whether the plugins speak at least this version.
    pub fn speaks(&self, version: &str) -> bool {
        let rank = |wanted: &str| VERSIONS.iter().position(|known| *known == wanted);
        rank(&self.version) >= rank(version)
    }
}

/// A plugin's `type`, which is the name of its executable; no path.
pub(super) fn plugin_type(plugin: &Map<String, Value>) -> Option<&str> {
    text_field(plugin, "type").filter(|name| !name.contains('/') && !name.starts_with('.'))
}

fn text_field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Some tools write booleans as texts.
fn flag(object: &Map<String, Value>, name: &str) -> bool {
    object.get(name).is_some_and(|value| value.as_bool() == Some(true) || value.as_str() == Some("true"))
}

/// The newest version that both sides speak.
fn version(whole: &Map<String, Value>) -> Result<String, String> {
    let listed = whole.get("cniVersions").and_then(Value::as_array).into_iter().flatten();
    let stated: Vec<&str> = listed.filter_map(Value::as_str).chain(text_field(whole, "cniVersion")).collect();
    VERSIONS
        .iter()
        .rev()
        .find(|known| stated.contains(known))
        .map(|known| (*known).to_owned())
        .ok_or_else(|| format!("field cniVersion: expected one of {}, found {stated:?}", VERSIONS.join(", ")))
}

/// Reads the first usable configuration of `dir` in the order of file names, as container runtimes do.
///
/// A file that cannot be used is passed over; when none is left, [`CniError::NotReady`] says what was wrong with each.
pub fn first_usable(dir: &Path) -> Result<NetworkList, CniError> {
    let mut problems = Vec::new();
    for file in files(dir) {
        let read = fs::read_to_string(&file)
            .map_err(|e| CniError::Configuration { file: file.clone(), problem: e.to_string() });
        match read.and_then(|text| NetworkList::parse(&text, &file)) {
            Ok(list) => return Ok(list),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let detail = if problems.is_empty() {
        format!("no networks found in {}", dir.display())
    } else {
        format!("no valid networks found in {}: {}", dir.display(), problems.join("; "))
    };
    Err(CniError::NotReady { detail })
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let is_configuration = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "conf" || end == "conflist" || end == "json")
            && path.is_file()
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(is_configuration).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NetworkList, CniError> {
        NetworkList::parse(text, Path::new("10-x.conflist"))
    }

    #[test]
    fn a_single_plugin_is_a_list_of_one() {
        let list =
            parse(r#"{"cniVersion": "0.3.1", "name": "n", "type": "bridge", "bridge": "b0"}"#).unwrap();
        assert_eq!((list.plugins.len(), list.version.as_str()), (1, "0.3.1"));
        assert!(list.speaks("0.3.1") && !list.speaks("0.4.0"));
    }

    #[test]
    fn the_newest_version_that_both_speak_is_chosen() {
        let text = r#"{"cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.1.0", "2.0.0"], "name": "n",
            "disableCheck": "true", "plugins": [{"type": "ptp"}]}"#;
        let list = parse(text).unwrap();
        assert_eq!((list.version.as_str(), list.disable_check), ("1.1.0", true));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_file_and_field() {
        for (text, expected) in [
            ("[]", "not a JSON object"),
            (r#"{"name": "n", "cniVersion": "1.0.0", "plugins": []}"#, "field plugins"),
            (
                r#"{"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "../sh"}]}"#,
                "field plugins[0].type",
            ),
            (r#"{"cniVersion": "1.0.0", "type": "ptp"}"#, "field name"),
            (r#"{"name": "n", "cniVersion": "9.0.0", "type": "ptp"}"#, "field cniVersion"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("10-x.conflist") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_first_usable_file_in_order_of_names_counts() {
        let dir = tempfile::tempdir().unwrap();
        let not_ready = first_usable(&dir.path().join("absent")).unwrap_err();
        assert!(
            matches!(&not_ready, CniError::NotReady { detail } if detail.starts_with("no networks found"))
        );
        fs::write(dir.path().join("05-broken.conf"), "{").unwrap();
        let not_ready = first_usable(dir.path()).unwrap_err();
        assert!(not_ready.to_string().contains("05-broken.conf"), "{not_ready}");
        let network = |name: &str| format!(r#"{{"cniVersion": "1.0.0", "name": "{name}", "type": "ptp"}}"#);
        fs::write(dir.path().join("20-b.conf"), network("b")).unwrap();
        fs::write(dir.path().join("10-a.conflist"), network("a")).unwrap();
        fs::write(dir.path().join("00-c.txt"), network("c")).unwrap();
        assert_eq!(first_usable(dir.path()).unwrap().name, "a");
    }
}
