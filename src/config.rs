//! The configuration file: defaults for one command's flags, under the flags' own names.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::error::ContextKind;

/// Where a command's file stands unless `--config` names another.
const DIRECTORY: &str = "/etc/leasehold";

/// A configuration file, read but not yet held against the flags.
#[derive(Debug, Default)]
pub struct File {
    path: PathBuf,
    values: toml::Table,
}

impl File {
    /// Reads `explicit`, or the command's own file if it is there.
    pub fn read(explicit: Option<&Path>, command: &str) -> anyhow::Result<Self> {
        let path =
            explicit.map_or_else(|| Path::new(DIRECTORY).join(format!("{command}.toml")), Path::to_owned);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && explicit.is_none() => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("configuration file {}", path.display()));
            }
        };
        let values = text.parse().with_context(|| format!("configuration file {}", path.display()))?;
        Ok(Self { path, values })
    }

    /// Makes the file's values the defaults of the command's flags. A key that is no flag is an error.
    pub fn defaults_for(&self, root: clap::Command, command: &str) -> anyhow::Result<clap::Command> {
        let Some(subcommand) = root.find_subcommand(command) else {
            return Ok(root);
        };
        let mut defaults = Vec::new();
        for (key, value) in &self.values {
            let flag =
                subcommand.get_arguments().chain(root.get_arguments()).find(|a| a.get_long() == Some(key));
            let Some(flag) = flag.filter(|_| key != "config") else {
                let mut known: Vec<_> = subcommand.get_arguments().filter_map(clap::Arg::get_long).collect();
                known.sort_unstable();
                bail!(
                    "configuration file {}: {key}: not a flag of `leasehold {command}`; known are {}",
                    self.path.display(),
                    known.join(", ")
                );
            };
            let text = flag_text(value)
                .with_context(|| format!("configuration file {}: {key}", self.path.display()))?;
            defaults.push((flag.get_id().clone(), text));
        }
        Ok(with_defaults(root, command, &defaults))
    }
}

impl File {
    /// Says where a wrong value stands, if it came from this file.
    pub fn blame(&self, error: &clap::Error) -> Option<String> {
        let context = |kind| error.get(kind).map(ToString::to_string);
        let flag = context(ContextKind::InvalidArg)?;
        let key = flag.trim_start_matches('-').split(' ').next()?;
        let wrong = context(ContextKind::InvalidValue)?;
        let written = flag_text(self.values.get(key)?).ok()?;
        written.split(',').any(|part| part == wrong).then(|| {
            let why = std::error::Error::source(error).map(|why| format!(": {why}")).unwrap_or_default();
            format!("configuration file {}: {key}: invalid value {wrong:?}{why}", self.path.display())
        })
    }
}

fn with_defaults(root: clap::Command, command: &str, defaults: &[(clap::Id, String)]) -> clap::Command {
    let mut root = root;
    for (id, text) in defaults {
        let set = |arg: clap::Arg| arg.default_value(text.clone());
        if root.get_arguments().any(|arg| arg.get_id() == id) {
            root = root.mut_arg(id.clone(), set);
        } else {
            root = root.mut_subcommand(command, |sub| sub.mut_arg(id.clone(), set));
        }
    }
    root
}

/// A value as it would be typed after the flag: lists and tables with commas.
fn flag_text(value: &toml::Value) -> anyhow::Result<String> {
    Ok(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        toml::Value::Array(items) => items.iter().map(flag_text).collect::<Result<Vec<_>, _>>()?.join(","),
        toml::Value::Table(pairs) => pairs
            .iter()
            .map(|(key, value)| flag_text(value).map(|value| format!("{key}={value}")))
            .collect::<Result<Vec<_>, _>>()?
            .join(","),
        toml::Value::Float(_) | toml::Value::Datetime(_) => {
            bail!("expected a string, a whole number, true or false, a list or a table of them")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Command};

    fn command() -> Command {
        Command::new("leasehold").subcommand(
            Command::new("up")
                .arg(Arg::new("data_dir").long("data-dir").default_value("/var/lib/leasehold"))
                .arg(Arg::new("node_labels").long("node-labels").value_delimiter(',')),
        )
    }

    fn file(text: &str) -> File {
        File { path: "up.toml".into(), values: text.parse().expect("TOML") }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let parse = |args: &[&str]| {
            let command = file("data-dir = \"/srv\"").defaults_for(command(), "up").expect("known keys");
            let matches = command.try_get_matches_from(args).expect("parses");
            let up = matches.subcommand_matches("up").expect("up");
            up.get_one::<String>("data_dir").cloned().expect("has a default")
        };
        assert_eq!(parse(&["leasehold", "up"]), "/srv");
        assert_eq!(parse(&["leasehold", "up", "--data-dir", "/tmp/x"]), "/tmp/x");
    }

    #[test]
    fn a_table_reads_as_pairs() {
        let command =
            file("[node-labels]\nrack = \"a\"\nzone = \"b\"").defaults_for(command(), "up").expect("known");
        let matches = command.try_get_matches_from(["leasehold", "up"]).expect("parses");
        let labels: Vec<&String> =
            matches.subcommand_matches("up").expect("up").get_many("node_labels").expect("set").collect();
        assert_eq!(labels, ["rack=a", "zone=b"]);
    }

    #[test]
    fn a_wrong_value_of_the_file_is_blamed_on_it_and_one_of_a_flag_is_not() {
        let number = Arg::new("max_pods").long("max-pods").value_parser(clap::value_parser!(u32));
        let file = file("max-pods = \"many\"");
        let root = Command::new("leasehold").subcommand(Command::new("up").arg(number));
        let command = file.defaults_for(root, "up").expect("a known key");
        let blame =
            |args: &[&str]| file.blame(&command.clone().try_get_matches_from(args).expect_err("no number"));
        let text = blame(&["leasehold", "up"]).expect("the file's");
        assert!(text.contains("up.toml: max-pods") && text.contains("many"), "{text}");
        assert_eq!(blame(&["leasehold", "up", "--max-pods", "few"]), None);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_file_key_and_flags() {
        let error = file("dta-dir = \"/srv\"").defaults_for(command(), "up").expect_err("unknown key");
        let text = format!("{error:#}");
        for part in ["up.toml", "dta-dir", "data-dir"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
