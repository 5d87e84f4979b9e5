//! Files of variables in a Pod's volumes (`fileKeyRef`). PURE.
//!
//! The syntax is upstream's strict one: `NAME='value'` lines; blank lines and lines that begin with `#` are skipped; a
//! value may span lines; nothing may stand before the name but blanks, nothing around the `=` or after the closing quote but blanks or a
//! comment.

use super::sources::{FileWanted, Sources};

/// Why a value cannot be read from a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvFileError {
    /// No such volume or file.
    #[error("cannot read file {:?} of volume {:?}", .0.path, .0.volume)]
    NoFile(FileWanted),
    /// The file has no such key.
    #[error("environment variable key {key:?} not found in file {:?} of volume {:?}", file.path, file.volume)]
    NoKey {
        /// The key.
        key: String,
        /// The file.
        file: FileWanted,
    },
    /// A line is not of the form `NAME='value'`.
    #[error("couldn't parse env file {:?} of volume {:?}: line {line}: {problem}", file.path, file.volume)]
    Syntax {
        /// The file.
        file: FileWanted,
        /// 1-based.
        line: usize,
        /// What was expected.
        problem: &'static str,
    },
}

/// The value of `key` in a file, none where the file does not name it. The last one counts.
pub(super) fn value(sources: &Sources, file: &FileWanted, key: &str) -> Result<Option<String>, EnvFileError> {
    let text = sources.files.get(file).ok_or_else(|| EnvFileError::NoFile(file.clone()))?;
    let pairs =
        parse(text).map_err(|(line, problem)| EnvFileError::Syntax { file: file.clone(), line, problem })?;
    Ok(pairs.into_iter().rev().find(|(name, _)| name == key).map(|(_, value)| value))
}

fn parse(text: &str) -> Result<Vec<(String, String)>, (usize, &'static str)> {
    let mut pairs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let wrong = |problem| (index + 1, problem);
        let (name, rest) = line.trim_start().split_once('=').ok_or(wrong("expected NAME='value'"))?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong("expected a name without blanks before the ="));
        }
        let quoted =
            rest.strip_prefix('\'').ok_or(wrong("expected a value in single quotes right after the ="))?;
        let mut value = quoted.to_owned();
        while !value.contains('\'') {
            let (_, more) = lines.next().ok_or(wrong("the value's closing quote is missing"))?;
            value = value + "\n" + more;
        }
        let (value, after) = value.split_once('\'').unwrap_or_default();
        if !after.trim().is_empty() && !after.trim_start().starts_with('#') {
            return Err(wrong("expected nothing but a comment after the closing quote"));
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_span_lines_and_the_last_of_a_name_counts() {
        let text = "# made by init\n  A='1'\n\nB='two\nlines' # comment\nA='=3='\n";
        let file = FileWanted { volume: "v".to_owned(), path: "env".to_owned() };
        let mut sources = Sources::default();
        assert!(matches!(value(&sources, &file, "A").unwrap_err(), EnvFileError::NoFile(_)));
        sources.files.insert(file.clone(), text.to_owned());
        assert_eq!(value(&sources, &file, "A").unwrap().as_deref(), Some("=3="));
        assert_eq!(value(&sources, &file, "B").unwrap().as_deref(), Some("two\nlines"));
        assert_eq!(value(&sources, &file, "C").unwrap(), None);
    }

    #[test]
    fn anything_else_is_refused_with_its_line() {
        for (text, line) in
            [("A=1", 1), ("\nexport A='1'", 2), ("A ='1'", 1), ("A='1", 1), ("A='1'x", 1), ("A", 1)]
        {
            assert_eq!(parse(text).unwrap_err().0, line, "{text}");
        }
    }
}
