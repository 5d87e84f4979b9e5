//! A value together with where it stands, and the errors found on a walk from spot to spot.

use serde_json::{Value, json};

use crate::api::names::Faults;
use crate::api::quantity::Quantity;
use crate::api::status::FieldError;

/// What upstream says of a number below zero.
pub(super) const NEGATIVE: &str = "must be greater than or equal to 0";
/// What upstream says of a changed field that may not change.
pub(super) const IMMUTABLE: &str = "field is immutable";

static NOTHING: Value = Value::Null;

/// A value of an object (null where there is none) and its path as upstream writes it.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    /// The value.
    pub(super) value: &'a Value,
    path: String,
}

impl<'a> Spot<'a> {
    /// The object itself.
    pub(super) fn root(object: &'a Value) -> Self {
        Self { value: object, path: String::new() }
    }

    /// A field; `a.b` goes down twice.
    pub(super) fn at(&self, fields: &str) -> Spot<'a> {
        let value = fields.split('.').fold(self.value, |value, field| value.get(field).unwrap_or(&NOTHING));
        let path = if self.path.is_empty() { fields.to_owned() } else { format!("{}.{fields}", self.path) };
        Spot { value, path }
    }

    /// The elements of a list, none when it is no list.
    pub(super) fn items(&self) -> impl Iterator<Item = Spot<'a>> + use<'a> {
        let path = self.path.clone();
        let items = self.value.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().enumerate().map(move |(i, value)| Spot { value, path: format!("{path}[{i}]") })
    }

    /// The entries of a map, none when it is no map.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Spot<'a>)> + use<'a> {
        let path = self.path.clone();
        let entries = self.value.as_object().into_iter().flatten();
        entries.map(move |(key, value)| (key.as_str(), Spot { value, path: format!("{path}[{key}]") }))
    }

    /// An entry of a map.
    pub(super) fn key(&self, key: &str) -> Spot<'a> {
        Spot { value: self.value.get(key).unwrap_or(&NOTHING), path: format!("{}[{key}]", self.path) }
    }

    /// The same path with another value.
    pub(super) fn with(&self, value: &'a Value) -> Spot<'a> {
        Spot { value, path: self.path.clone() }
    }

    /// The text, empty when there is none.
    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The number, none when there is none.
    pub(super) fn number(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The quantity, none when it cannot be read.
    pub(super) fn quantity(&self) -> Option<Quantity> {
        Quantity::parse(self.value.as_str()?).ok()
    }

    /// Whether it says true.
    pub(super) fn is_true(&self) -> bool {
        *self.value == true
    }

    /// Whether it is there at all.
    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether it is absent, or an empty text, list or map.
    pub(super) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// The path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The value as an error shows it: nothing counts as an empty text.
    fn shown(&self) -> Value {
        if self.value.is_null() { json!("") } else { self.value.clone() }
    }
}

/// Errors found so far.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<FieldError>);

impl Errors {
    /// All of them.
    pub(super) fn into_list(self) -> Vec<FieldError> {
        self.0
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// One more.
    pub(super) fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    /// `Required value[: detail]`
    pub(super) fn required(&mut self, at: &Spot<'_>, detail: &str) {
        self.push(FieldError::required(at.path(), detail));
    }

    /// `Forbidden: detail`
    pub(super) fn forbidden(&mut self, at: &Spot<'_>, detail: &str) {
        self.push(FieldError::forbidden(at.path(), detail));
    }

    /// `Invalid value: VALUE: detail`
    pub(super) fn invalid(&mut self, at: &Spot<'_>, detail: &str) {
        self.push(FieldError::invalid(at.path(), &at.shown(), detail));
    }

    /// `Invalid value: VALUE: detail` with a value that does not stand there.
    pub(super) fn invalid_value(&mut self, at: &Spot<'_>, value: impl Into<Value>, detail: &str) {
        self.push(FieldError::invalid(at.path(), &value.into(), detail));
    }

    /// `Duplicate value: VALUE`
    pub(super) fn duplicate(&mut self, at: &Spot<'_>) {
        self.push(FieldError::duplicate(at.path(), &at.shown()));
    }

    /// `Duplicate value: VALUE` with a value that does not stand there.
    pub(super) fn duplicate_value(&mut self, at: &Spot<'_>, value: impl Into<Value>) {
        self.push(FieldError::duplicate(at.path(), &value.into()));
    }

    /// `Not found: VALUE`
    pub(super) fn not_found(&mut self, at: &Spot<'_>) {
        self.push(FieldError::not_found(at.path(), &at.shown()));
    }

    /// `Unsupported value: VALUE: supported values: …`
    pub(super) fn unsupported(&mut self, at: &Spot<'_>, supported: &[&str]) {
        self.push(FieldError::unsupported(at.path(), &at.shown(), supported));
    }

    /// One error for each fault of a name.
    pub(super) fn faults(&mut self, at: &Spot<'_>, faults: Faults) {
        for fault in faults {
            self.invalid(at, &fault);
        }
    }

    /// One error for each fault of a value that does not stand there.
    pub(super) fn faults_of(&mut self, at: &Spot<'_>, value: impl Into<Value>, faults: Faults) {
        let value = value.into();
        for fault in faults {
            self.push(FieldError::invalid(at.path(), &value, &fault));
        }
    }

    /// A text that must be there, and must be one of these.
    pub(super) fn one_of(&mut self, at: &Spot<'_>, supported: &[&str]) {
        if at.text().is_empty() {
            self.required(at, "");
        } else {
            self.one_of_if_set(at, supported);
        }
    }

    /// A text that, when it is there, must be one of these.
    pub(super) fn one_of_if_set(&mut self, at: &Spot<'_>, supported: &[&str]) {
        if at.is_set() && !supported.contains(&at.text()) {
            self.unsupported(at, supported);
        }
    }

    /// A text that must not be empty.
    pub(super) fn must_be_set(&mut self, at: &Spot<'_>) {
        if at.is_empty() {
            self.required(at, "");
        }
    }

    /// A number that must not be negative.
    pub(super) fn not_negative(&mut self, at: &Spot<'_>) {
        if at.number().is_some_and(|number| number < 0) {
            self.invalid(at, NEGATIVE);
        }
    }

    /// A field that must be as it was.
    pub(super) fn immutable(&mut self, new: &Spot<'_>, old: &Spot<'_>) {
        if new.value != old.value {
            self.invalid(new, IMMUTABLE);
        }
    }
}
