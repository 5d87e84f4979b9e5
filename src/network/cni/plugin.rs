//! One execution of one CNI plugin.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::CniError;

/// A plugin that takes longer is killed; some wait for a daemon of theirs that is still starting.
const PLUGIN_TIME: Duration = Duration::from_mins(1);

/// What a plugin is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Del,
    Check,
}

impl Verb {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
        }
    }
}

/// The environment that all plugins of one request share.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub(super) verb: Verb,
    pub(super) container_id: &'a str,
    pub(super) netns: &'a Path,
    pub(super) interface: &'a str,
    pub(super) arguments: &'a str,
    pub(super) bin_dirs: &'a [PathBuf],
}

/// Runs the plugin `name` with `config` on its standard input and returns what it printed, null for nothing.
pub(super) async fn run(call: &Call<'_>, name: &str, config: &Map<String, Value>) -> Result<Value, CniError> {
    let (plugin, verb) = (name.to_owned(), call.verb.name().to_ascii_lowercase());
    let Some(program) = find(call.bin_dirs, name) else {
        return Err(CniError::NoSuchPlugin { plugin, verb, dirs: call.bin_dirs.to_vec() });
    };
    let failed = |message: String| CniError::Plugin { plugin: plugin.clone(), verb: verb.clone(), message };
    let input = serde_json::to_vec(config).map_err(|e| failed(e.to_string()))?;
    let answer = tokio::time::timeout(PLUGIN_TIME, execute(call, &program, &input))
        .await
        .map_err(|_| failed(format!("no answer within {} s", PLUGIN_TIME.as_secs())))?
        .map_err(|e| failed(format!("cannot run {}: {e}", program.display())))?;
    let printed = serde_json::from_slice(&answer.stdout).unwrap_or(Value::Null);
    if answer.status.success() {
        return Ok(printed);
    }
    let said = String::from_utf8_lossy(&answer.stderr);
    Err(failed(refusal(&printed).unwrap_or_else(|| format!("{}: {}", answer.status, said.trim()))))
}

async fn execute(call: &Call<'_>, program: &Path, input: &[u8]) -> std::io::Result<std::process::Output> {
    let mut child = Command::new(program)
        .env("CNI_COMMAND", call.verb.name())
        .env("CNI_CONTAINERID", call.container_id)
        .env("CNI_NETNS", call.netns)
        .env("CNI_IFNAME", call.interface)
        .env("CNI_ARGS", call.arguments)
        .env("CNI_PATH", std::env::join_paths(call.bin_dirs).map_err(std::io::Error::other)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin that fails early may not read its input.
        let _ = stdin.write_all(input).await;
    }
    child.wait_with_output().await
}

/// The message of the specification's error object.
fn refusal(printed: &Value) -> Option<String> {
    let message = printed.get("msg")?.as_str()?;
    match printed.get("details").and_then(Value::as_str).filter(|details| !details.is_empty()) {
        Some(details) => Some(format!("{message}; {details}")),
        None => Some(message.to_owned()),
    }
}

fn find(bin_dirs: &[PathBuf], name: &str) -> Option<PathBuf> {
    bin_dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file())
}
