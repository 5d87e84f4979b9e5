//! One table for people, or JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// How the report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
}

/// One figure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    /// What it is held against: name, value in the same unit, ratio.
    floor: Option<(String, f64, f64)>,
    /// The aim in words, and whether it is met.
    aim: Option<(String, bool)>,
    note: String,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, ..Self::default() }
    }

    /// The same by other means, and the ratio to it (pair by pair, where there are pairs).
    pub(crate) fn floor(mut self, name: impl Into<String>, value: f64, ratio: f64) -> Self {
        self.floor = Some((name.into(), value, ratio));
        self
    }

    pub(crate) fn aim(mut self, words: impl Into<String>, met: bool) -> Self {
        self.aim = Some((words.into(), met));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn json(&self, section: &str) -> Value {
        let mut row =
            json!({ "section": section, "what": self.what, "value": self.value, "unit": self.unit });
        if let Some((name, value, ratio)) = &self.floor {
            row["floor"] = json!({ "what": name, "value": value });
            row["ratio"] = (*ratio).into();
        }
        if let Some((words, met)) = &self.aim {
            row["aim"] = words.as_str().into();
            row["met"] = (*met).into();
        }
        if !self.note.is_empty() {
            row["note"] = self.note.as_str().into();
        }
        row
    }

    fn cells(&self) -> [String; 6] {
        let floor = self.floor.as_ref();
        let aim = self.aim.as_ref();
        [
            self.what.clone(),
            format!("{} {}", number(self.value), self.unit),
            floor
                .map(|(name, value, _)| format!("{} {} {name}", number(*value), self.unit))
                .unwrap_or_default(),
            floor.map(|(_, _, ratio)| format!("{ratio:.2}")).unwrap_or_default(),
            aim.map(|(words, met)| format!("{words}: {}", if *met { "yes" } else { "NO" }))
                .unwrap_or_default(),
            self.note.clone(),
        ]
    }
}

/// All figures so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The section that is running.
    pub(crate) section: &'static str,
    rows: Vec<(&'static str, Row)>,
    failures: Vec<(&'static str, String)>,
}

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        let [what, value, floor, ratio, aim, _] = row.cells();
        eprintln!("    {what}: {value}  {floor}  {ratio}  {aim}");
        self.rows.push((self.section, row));
    }

    pub(crate) fn fail(&mut self, why: &str) {
        eprintln!("    {} failed: {why}", self.section);
        self.failures.push((self.section, why.to_owned()));
    }

    pub(crate) fn failed(&self) -> bool {
        !self.failures.is_empty()
    }

    pub(crate) fn render(&self, format: Format) -> String {
        match format {
            Format::Json => {
                let rows: Vec<Value> = self.rows.iter().map(|(section, row)| row.json(section)).collect();
                let failure = |(section, why): &(&str, String)| json!({ "section": section, "failed": why });
                let failures: Vec<Value> = self.failures.iter().map(failure).collect();
                format!("{:#}\n", json!({ "results": rows, "failures": failures }))
            }
            Format::Table => self.table(),
        }
    }

    fn table(&self) -> String {
        let head = ["WHAT", "MEASURED", "AGAINST", "RATIO", "AIM", ""].map(str::to_owned);
        let lines: Vec<[String; 6]> =
            std::iter::once(head).chain(self.rows.iter().map(|(_, row)| row.cells())).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        let mut out = String::new();
        for line in &lines {
            let padded: Vec<String> =
                line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            let _ = writeln!(out, "{}", padded.join("  ").trim_end());
        }
        for (section, why) in &self.failures {
            let _ = writeln!(out, "{section} failed: {why}");
        }
        out
    }
}

/// Three significant digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
