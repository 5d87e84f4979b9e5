//! `$(VAR)` references in values, commands, arguments and sub-paths. PURE.

use std::collections::{BTreeMap, BTreeSet};

/// Replaces every `$(VAR)` by what `values` say.
///
/// `$$` stands for `$`, so that `$$(VAR)` stays as `$(VAR)`. A reference to an unknown variable stays as written, and
/// so does `$` before anything else.
pub fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    expand_with(text, |name| values.get(name).cloned())
}

/// The same, but every reference must be known: the error names those that are not, each once.
pub fn expand_all(text: &str, values: &BTreeMap<String, String>) -> Result<String, BTreeSet<String>> {
    let mut missing = BTreeSet::new();
    let expanded = expand_with(text, |name| {
        let found = values.get(name).cloned();
        if found.is_none() {
            missing.insert(name.to_owned());
        }
        found
    });
    if missing.is_empty() { Ok(expanded) } else { Err(missing) }
}

fn expand_with(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        if let Some(literal) = after.strip_prefix('$') {
            expanded.push('$');
            rest = literal;
        } else if let Some((name, tail)) = reference {
            expanded.push_str(&value(name).unwrap_or_else(|| format!("$({name})")));
            rest = tail;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> BTreeMap<String, String> {
        let pairs = [("A", "a"), ("EMPTY", ""), ("NESTED", "$(A)")];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn references_escapes_and_leftovers_are_upstreams() {
        for (text, expected) in [
            ("$(A)", "a"),
            ("x-$(A)-$(A)y", "x-a-ay"),
            ("$(EMPTY)|", "|"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$$$$(A)", "$$(A)"),
            ("$(NESTED)", "$(A)"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$()", "$()"),
            ("$($(A))", "$($(A))"),
            ("ä$(A)ö", "äaö"),
        ] {
            assert_eq!(expand(text, &values()), expected, "{text}");
        }
    }

    #[test]
    fn strict_expansion_names_what_is_missing() {
        assert_eq!(expand_all("$(A)/$$(X)", &values()).unwrap(), "a/$(X)");
        let missing = expand_all("$(X)/$(A)/$(Y)/$(X)", &values()).unwrap_err();
        assert_eq!(missing, ["X".to_owned(), "Y".to_owned()].into());
    }
}
