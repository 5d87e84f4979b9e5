//! Label selectors, as query strings (`a=b,c!=d,e in (x,y),!f,g`) and as objects (`matchLabels`, `matchExpressions`),
//! and field selectors (`a=b,c!=d`). Error texts are upstream's.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as LabelSelectorObject;
use serde_json::Value;

use crate::api::names;

/// Why a selector cannot be read; the text is the whole sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

/// How a requirement compares a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key=value`, `key==value`, `key in (…)`: present, with one of the values.
    In,
    /// `key!=value`, `key notin (…)`: absent, or with none of the values.
    NotIn,
    /// `key>number`
    GreaterThan,
    /// `key<number`
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        let mut faults = joined("key", key, &names::qualified_name(key));
        if matches!(operator, Operator::In | Operator::NotIn) && values.is_empty() {
            faults.push(
                "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".into(),
            );
        }
        if matches!(operator, Operator::Exists | Operator::DoesNotExist) && !values.is_empty() {
            let shown = Value::from(values.clone());
            faults.push(format!(
                "values: Invalid value: {shown}: values set must be empty for exists and does not exist"
            ));
        }
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            let odd = values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err());
            faults.extend(odd.map(|(i, value)| {
                format!(
                    "values[{i}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                )
            }));
        }
        for (i, value) in values.iter().enumerate() {
            faults.extend(joined(&format!("values[{i}][{key}]"), value, &names::label_value(value)));
        }
        match faults.len() {
            0 => Ok(Self { key: key.into(), operator, values }),
            1 => Err(SelectorError(faults.remove(0))),
            _ => Err(SelectorError(format!("[{}]", faults.join(", ")))),
        }
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.key);
        let listed = |value: &String| self.values.contains(value);
        match self.operator {
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::In => found.is_some_and(listed),
            Operator::NotIn => !found.is_some_and(listed),
            Operator::GreaterThan => self.compares(found, |label, bound| label > bound),
            Operator::LessThan => self.compares(found, |label, bound| label < bound),
        }
    }

    fn compares(&self, label: Option<&String>, holds: fn(i64, i64) -> bool) -> bool {
        let number = |text: &String| text.parse::<i64>().ok();
        let bound = self.values.first().and_then(number);
        label.and_then(number).zip(bound).is_some_and(|(label, bound)| holds(label, bound))
    }
}

fn joined(path: &str, value: &str, faults: &[String]) -> Vec<String> {
    if faults.is_empty() {
        return Vec::new();
    }
    vec![format!("{path}: Invalid value: {value:?}: {}", faults.join("; "))]
}

impl Display for Requirement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values } = self;
        let mut sorted = values.clone();
        sorted.sort();
        let list = sorted.join(",");
        match operator {
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::In if values.len() == 1 => write!(f, "{key}={list}"),
            Operator::NotIn if values.len() == 1 => write!(f, "{key}!={list}"),
            Operator::In => write!(f, "{key} in ({list})"),
            Operator::NotIn => write!(f, "{key} notin ({list})"),
            Operator::GreaterThan => write!(f, "{key}>{list}"),
            Operator::LessThan => write!(f, "{key}<{list}"),
        }
    }
}

/// Which label sets are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// None at all: an absent `LabelSelector` object.
    Nothing,
    /// Those that satisfy every requirement; with none, all.
    All(Vec<Requirement>),
}

impl Default for Selector {
    fn default() -> Self {
        Self::everything()
    }
}

impl Selector {
    /// Matches every label set.
    pub fn everything() -> Self {
        Self::All(Vec::new())
    }

    /// Reads the `labelSelector` parameter of a request.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Parser::new(text).requirements()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self::All(requirements))
    }

    /// Reads a `LabelSelector` object: none selects nothing, an empty one everything.
    pub fn from_object(object: Option<&LabelSelectorObject>) -> Result<Self, SelectorError> {
        let Some(object) = object else { return Ok(Self::Nothing) };
        let mut requirements = Vec::new();
        for (key, value) in object.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::In, vec![value.clone()])?);
        }
        for expression in object.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("{other:?} is not a valid label selector operator")));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self::All(requirements))
    }

    /// [`Self::from_object`] for an object still in JSON; null selects nothing.
    pub fn from_value(object: &Value) -> Result<Self, SelectorError> {
        if object.is_null() {
            return Ok(Self::Nothing);
        }
        let object: LabelSelectorObject = serde::Deserialize::deserialize(object)
            .map_err(|e| SelectorError(format!("not a label selector: {e}")))?;
        Self::from_object(Some(&object))
    }

    /// Whether a label set is meant.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Nothing => false,
            Self::All(requirements) => requirements.iter().all(|requirement| requirement.matches(labels)),
        }
    }

    /// Whether every label set is meant.
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::All(requirements) if requirements.is_empty())
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self::All(requirements) = self else { return Ok(()) };
        for (i, requirement) in requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A piece of a label selector. `in` and `notin` are words like others where a key or value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(&'static str),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Symbol(symbol) => symbol,
            Self::End => "",
        }
    }
}

const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', '\r', '\n']);
    while !rest.is_empty() {
        let length = if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            found.push(Token::Symbol(symbol));
            symbol.len()
        } else {
            let end = rest.find([' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '>', '<']);
            let word = &rest[..end.unwrap_or(rest.len())];
            found.push(Token::Word(word.to_owned()));
            word.len()
        };
        rest = rest[length..].trim_start_matches([' ', '\t', '\r', '\n']);
    }
    found
}

/// Reads a label selector from left to right.
struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn new(text: &str) -> Self {
        Self { tokens: tokens(text).into_iter().peekable() }
    }

    fn next(&mut self) -> Token {
        self.tokens.next().unwrap_or(Token::End)
    }

    fn peek(&mut self) -> &Token {
        self.tokens.peek().unwrap_or(&Token::End)
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(requirements),
                Token::Word(_) | Token::Symbol("!") => {}
                Token::Symbol(other) => {
                    return Err(unexpected(other, ", expected: !, identifier, or 'end of string'"));
                }
            }
            let requirement = self.requirement();
            requirements
                .push(requirement.map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => {
                    if !matches!(self.peek(), Token::Word(_) | Token::Symbol("!")) {
                        return Err(unexpected(self.peek().text(), ", expected: identifier after ','"));
                    }
                }
                other @ (Token::Word(_) | Token::Symbol(_)) => {
                    return Err(unexpected(other.text(), ", expected: ',' or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let negated = matches!(self.peek(), Token::Symbol("!"));
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other @ (Token::Symbol(_) | Token::End) => {
                return Err(unexpected(other.text(), ", expected: identifier"));
            }
        };
        if let Some(fault) = joined("<nil>", &key, &names::qualified_name(&key)).pop() {
            return Err(SelectorError(fault));
        }
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let (operator, is_set) = self.operator()?;
        let values = if is_set { self.values()? } else { vec![self.value()?] };
        Requirement::new(&key, operator, values)
    }

    fn operator(&mut self) -> Result<(Operator, bool), SelectorError> {
        let token = self.next();
        Ok(match token.text() {
            "in" => (Operator::In, true),
            "notin" => (Operator::NotIn, true),
            "=" | "==" => (Operator::In, false),
            "!=" => (Operator::NotIn, false),
            ">" => (Operator::GreaterThan, false),
            "<" => (Operator::LessThan, false),
            other => return Err(unexpected(other, ", expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    /// One value, which may be empty.
    fn value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(value) => Ok(value),
            other @ (Token::Symbol(_) | Token::End) => {
                Err(unexpected(other.text(), ", expected: identifier"))
            }
        }
    }

    /// `(a,b)`; a missing value between commas is the empty one.
    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(unexpected(open.text(), " expected: '('"));
        }
        if !matches!(self.peek(), Token::Word(_) | Token::Symbol("," | ")")) {
            return Err(unexpected(self.peek().text(), ", expected: ',', ')' or identifier"));
        }
        let mut values = Vec::new();
        loop {
            let value = match self.peek() {
                Token::Word(word) => word.clone(),
                Token::Symbol(_) | Token::End => String::new(),
            };
            if matches!(self.peek(), Token::Word(_)) {
                self.next();
            }
            if !values.contains(&value) {
                values.push(value);
            }
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other @ (Token::Word(_) | Token::Symbol(_) | Token::End) => {
                    return Err(unexpected(other.text(), ", expected: ',' or ')'"));
                }
            }
        }
    }
}

fn unexpected(found: &str, rest: &str) -> SelectorError {
    SelectorError(format!("found '{found}'{rest}"))
}

/// Which objects are meant, by the few fields that their kind offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    field: String,
    value: String,
    is_equal: bool,
}

impl FieldSelector {
    /// Reads the `fieldSelector` parameter of a request. `\`, `,` and `=` in a value are escaped with `\`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let parts = split_terms(text).into_iter().filter(|part| !part.is_empty());
        let terms = parts.map(|part| FieldTerm::parse(text, part)).collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// Whether an object is meant; `value_of` reads one of its fields.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms
            .iter()
            .all(|term| (value_of(&term.field).unwrap_or_default() == term.value) == term.is_equal)
    }

    /// The value that this field must have, if the selector demands one: a way to an object without a search.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.is_equal && term.field == field).map(|term| term.value.as_str())
    }

    /// Says every field by another name, where it has one.
    pub fn rename(&mut self, names: &[(&str, &str)]) {
        for term in &mut self.terms {
            if let Some((_, to)) = names.iter().find(|(from, _)| *from == term.field) {
                term.field = (*to).to_owned();
            }
        }
    }

    /// Refuses fields that the kind does not offer; `offered` names those besides `metadata.name` and
    /// `metadata.namespace`.
    pub fn check(&self, offered: &[&str]) -> Result<(), SelectorError> {
        let known =
            |field: &str| matches!(field, "metadata.name" | "metadata.namespace") || offered.contains(&field);
        match self.terms.iter().find(|term| !known(&term.field)) {
            None => Ok(()),
            Some(term) if offered.is_empty() => Err(SelectorError(format!(
                "{:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                term.field
            ))),
            Some(term) => Err(SelectorError(format!("field label not supported: {}", term.field))),
        }
    }

    /// Whether every object is meant.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
}

impl FieldTerm {
    fn parse(selector: &str, part: &str) -> Result<Self, SelectorError> {
        let cut = part.find("!=").into_iter().chain(part.find('=')).min();
        let Some(at) = cut else {
            return Err(SelectorError(format!("invalid selector: '{selector}'; can't understand '{part}'")));
        };
        let (field, rest) = part.split_at(at);
        let is_equal = !rest.starts_with('!');
        let value = rest.strip_prefix("!=").or(rest.strip_prefix("==")).or(rest.strip_prefix('='));
        let value = unescaped(value.unwrap_or_default())?;
        Ok(Self { field: field.into(), value, is_equal })
    }
}

/// Splits at commas that are not escaped; escapes stay in.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        if c == ',' && !escaped {
            terms.push(&text[start..i]);
            start = i + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    terms.push(&text[start..]);
    terms
}

fn unescaped(text: &str) -> Result<String, SelectorError> {
    let invalid = |sequence: String| {
        Err(SelectorError(format!("invalid field selector: invalid escape sequence: {sequence}")))
    };
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(special @ ('\\' | ',' | '=')) => value.push(special),
                Some(other) => return invalid(format!("\\{other}")),
                None => return invalid("\\".into()),
            },
            ',' | '=' => {
                let code = u32::from(c);
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {code}"
                )));
            }
            _ => value.push(c),
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn label_selectors_match_as_upstream_documents_them() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], bool);
        let table: &[Case] = &[
            ("", &[], true),
            ("a=b", &[("a", "b")], true),
            ("a==b", &[("a", "b")], true),
            ("a=b", &[("a", "c")], false),
            ("a=b", &[], false),
            ("a!=b", &[], true),
            ("a!=b", &[("a", "c")], true),
            ("a!=b", &[("a", "b")], false),
            ("a=", &[("a", "")], true),
            ("a=", &[], false),
            ("a", &[("a", "")], true),
            ("!a", &[("a", "")], false),
            ("!a", &[], true),
            ("! a", &[], true),
            ("x in (foo,,baz),y,z notin ()", &[("x", ""), ("y", "1"), ("z", "q")], true),
            ("x in (foo,,baz),y,z notin ()", &[("x", "foo"), ("y", "1"), ("z", "")], false),
            ("x in (foo,,baz)", &[("x", "bar")], false),
            ("in in (in,notin),notin", &[("in", "notin"), ("notin", "")], true),
            ("a=in", &[("a", "in")], true),
            ("a>1,a<3", &[("a", "2")], true),
            ("a>1", &[("a", "1")], false),
            ("a>1", &[("a", "x")], false),
            ("a>1", &[], false),
            ("a<3", &[("a", "-2")], true),
            (" a = b\t, c ", &[("a", "b"), ("c", "")], true),
            ("example.com/a=b", &[("example.com/a", "b")], true),
        ];
        for (text, set, expected) in table {
            let selector = Selector::parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
            assert_eq!(selector.matches(&labels(set)), *expected, "{text:?} on {set:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_upstreams_words() {
        for (text, error) in [
            ("a=b,", "found '', expected: identifier after ','"),
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in", "unable to parse requirement: found '' expected: '('"),
            ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a=(", "unable to parse requirement: found '(', expected: identifier"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value \
                 must be an integer",
            ),
        ] {
            assert_eq!(Selector::parse(text), Err(SelectorError(error.into())), "{text:?}");
        }
        let key = Selector::parse("a/b/c=d").expect_err("two slashes").to_string();
        assert!(
            key.starts_with(
                "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key"
            )
        );
        let value = Selector::parse("a=b_").expect_err("ends in an underscore").to_string();
        assert!(
            value.starts_with(
                "unable to parse requirement: values[0][a]: Invalid value: \"b_\": a valid label"
            )
        );
    }

    #[test]
    fn selector_objects_distinguish_absent_from_empty() {
        let any = labels(&[("a", "b")]);
        assert!(!Selector::from_value(&Value::Null).expect("absent").matches(&any));
        assert!(Selector::from_value(&json!({})).expect("empty").matches(&any));
        let both = Selector::from_value(&json!({
            "matchLabels": { "a": "b" },
            "matchExpressions": [
                { "key": "c", "operator": "NotIn", "values": ["d"] },
                { "key": "e", "operator": "DoesNotExist" },
            ],
        }))
        .expect("valid");
        assert!(both.matches(&any));
        assert!(!both.matches(&labels(&[("a", "b"), ("c", "d")])));
        assert!(!both.matches(&labels(&[("a", "b"), ("e", "")])));
        assert_eq!(both.to_string(), "a=b,c!=d,!e");
    }

    #[test]
    fn bad_selector_objects_are_refused() {
        for (expression, error) in [
            (
                json!({ "key": "a", "operator": "Gt", "values": ["1"] }),
                "\"Gt\" is not a valid label selector operator",
            ),
            (
                json!({ "key": "a", "operator": "In" }),
                "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
            ),
            (
                json!({ "key": "a", "operator": "Exists", "values": ["b"] }),
                "values: Invalid value: [\"b\"]: values set must be empty for exists and does not exist",
            ),
        ] {
            let refused = Selector::from_value(&json!({ "matchExpressions": [expression] }));
            assert_eq!(refused, Err(SelectorError(error.into())));
        }
        assert!(Selector::from_value(&json!({ "matchLabels": ["a"] })).is_err());
    }

    #[test]
    fn field_selectors_compare_text_and_know_escapes() {
        let pod = |field: &str| match field {
            "metadata.name" => Some("a"),
            "spec.nodeName" => Some("x,y=z\\"),
            _ => None,
        };
        for (text, expected) in [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a", true),
            ("metadata.name!=a", false),
            ("metadata.name=b", false),
            ("spec.nodeName=x\\,y\\=z\\\\", true),
            ("metadata.name=a,,spec.nodeName!=x", true),
            ("status.phase=", true),
            ("status.phase!=", false),
        ] {
            assert_eq!(FieldSelector::parse(text).expect(text).matches(pod), expected, "{text:?}");
        }
        assert_eq!(
            FieldSelector::parse("a=b,metadata.name=c").expect("valid").exact("metadata.name"),
            Some("c")
        );
        assert_eq!(FieldSelector::parse("metadata.name!=c").expect("valid").exact("metadata.name"), None);
    }

    #[test]
    fn bad_field_selectors_are_refused_in_upstreams_words() {
        for (text, error) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            ("a=b\\x", "invalid field selector: invalid escape sequence: \\x"),
            ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
        ] {
            assert_eq!(FieldSelector::parse(text), Err(SelectorError(error.into())), "{text:?}");
        }
        let selector = FieldSelector::parse("spec.color=red").expect("valid");
        assert_eq!(
            selector.check(&[]).expect_err("unknown").to_string(),
            "\"spec.color\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert_eq!(
            selector.check(&["spec.nodeName"]).expect_err("unknown").to_string(),
            "field label not supported: spec.color"
        );
        assert!(selector.check(&["spec.color"]).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "[ab=!,()<> innot\\\\é\u{0}-]{0,24}") {
            let _ = Selector::parse(&text);
            let _ = FieldSelector::parse(&text);
        }

        #[test]
        fn a_selector_means_the_same_after_it_was_printed(text in "[ab]( in \\([cd,]{0,4}\\)| notin \\(c,d\\)|=c|!=d|>1|<2|)(,!e)?") {
            let selector = Selector::parse(&text).expect("of the grammar");
            let again = Selector::parse(&selector.to_string()).expect("printed by us");
            for set in [labels(&[]), labels(&[("a", "c")]), labels(&[("b", "d")]), labels(&[("a", ""), ("b", "2")])] {
                prop_assert_eq!(selector.matches(&set), again.matches(&set));
            }
        }
    }
}
