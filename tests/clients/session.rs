//! Terminal sessions with golden answers.
//!
//! A line `$ COMMAND` is given to a shell, with the lines that begin with `> ` as its further lines; the lines up to the
//! next empty line or command are what it must print (both streams). `…` stands for anything within a line, and alone on
//! a line for any number of lines. `[exit N]` is the last line of an answer whose exit code is not 0. Lines that begin
//! with `#` are prose.
//!
//! `UPDATE_SCENARIOS=1` writes the answers found into the file wherever they do not fit, to be read before they are
//! committed.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where a session's commands run.
pub struct Terminal<'a> {
    /// Working directory and HOME.
    pub directory: &'a Path,
    /// Searched for commands before PATH.
    pub tools: &'a Path,
    /// The cluster.
    pub kubeconfig: &'a Path,
}

/// Plays the session in `path`; the differences, if there are any.
pub fn play(path: &Path, terminal: &Terminal<'_>) -> Result<(), String> {
    let text = std::fs::read_to_string(path).expect("readable");
    let (mut played, mut faults) = (String::new(), String::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let _ = writeln!(played, "{line}");
        let Some(command) = line.strip_prefix("$ ") else { continue };
        let mut script = command.to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with('>')) {
            let _ = writeln!(played, "{more}");
            script += "\n";
            script += more.strip_prefix("> ").unwrap_or("");
        }
        let mut expected = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.is_empty() && !line.starts_with("$ ")) {
            expected.push(line);
        }
        let found = terminal.run(&script);
        let found: Vec<&str> = found.lines().map(str::trim_end).collect();
        let fits = fits(&expected, &found);
        for line in if fits { &expected } else { &found } {
            let _ = writeln!(played, "{line}");
        }
        if !fits {
            let _ = write!(faults, "$ {script}\n- {}\n+ {}\n", expected.join("\n- "), found.join("\n+ "));
        }
    }
    if !faults.is_empty() && std::env::var_os("UPDATE_SCENARIOS").is_some() {
        std::fs::write(path, played).expect("writable");
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("{}:\n{faults}", path.display())) }
}

impl Terminal<'_> {
    /// What a shell prints, and how it ends.
    pub fn run(&self, script: &str) -> String {
        let path = format!(
            "{}:{}",
            self.tools.display(),
            std::env::var_os("PATH").unwrap_or_default().to_string_lossy()
        );
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1\n{script}")])
            .current_dir(self.directory)
            .env("PATH", path)
            .env("HOME", self.directory)
            .env("KUBECONFIG", self.kubeconfig)
            .env("KUBECACHEDIR", self.directory.join("kubecache"))
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("a shell starts");
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let _ = write!(said, "[exit {}]", output.status.code().unwrap_or(-1));
        }
        // An empty line would end the answer.
        said.lines()
            .filter(|line| !line.trim().is_empty())
            .fold(String::new(), |said, line| said + line + "\n")
    }
}

fn fits(expected: &[&str], found: &[&str]) -> bool {
    match (expected, found) {
        ([], []) => true,
        (["…", rest @ ..], _) => (0..=found.len()).any(|skipped| fits(rest, &found[skipped..])),
        ([pattern, expected @ ..], [line, found @ ..]) => line_fits(pattern, line) && fits(expected, found),
        ([], _) | (_, []) => false,
    }
}

/// Columns are parted by any number of blanks: their width depends on names and ages.
fn line_fits(pattern: &str, line: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (squeeze(pattern), squeeze(line));
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[test]
fn an_answer_fits_a_pattern_with_gaps() {
    assert!(fits(&["a …", "…", "z"], &["a  b", "c", "d", "z"]));
    assert!(fits(&["NAME   AGE", "x      …s"], &["NAME AGE", "x 12s"]));
    assert!(!fits(&["a", "…", "z"], &["a", "b"]));
    assert!(!fits(&["x …s"], &["x 12m"]));
    assert!(!fits(&["a"], &["a", "b"]));
}
