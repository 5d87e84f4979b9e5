//! Which number each field has on the wire. The table beside this file tells numbers only; what a field holds is known
//! from the schemas ([`MODEL`]).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::api::model::{MODEL, Shape, Type};

const TABLE: &str = include_str!("messages.txt");

/// The fields of one message, by number.
pub(super) type Message = BTreeMap<u32, Field>;

/// One field.
#[derive(Debug)]
pub(super) enum Field {
    /// It is a field in JSON too.
    Own {
        name: &'static str,
        shape: &'static Shape,
        /// Whether JSON leaves it out when it is zero or empty.
        is_zero_absent: bool,
    },
    /// A message whose fields are, in JSON, those of the message around it.
    Inline(Message),
}

/// The messages of all types of the model, in its order.
static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| {
    let lines = lines();
    MODEL.types().iter().map(|of| message(&lines, of, &of.name)).collect()
});

/// The message of a [`Shape::Struct`].
pub(super) fn of(index: usize) -> &'static Message {
    &MESSAGES[index]
}

/// Each line of the table, by the full name of its message.
fn lines() -> BTreeMap<String, &'static str> {
    let mut package = "";
    let mut found = BTreeMap::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            package = name.trim_end_matches(']');
        } else if let Some((name, fields)) = line.split_once(' ') {
            found.insert(format!("{package}.{name}"), fields);
        }
    }
    found
}

/// The message of this name, whose fields have the shapes that `of` says. Fields that the schemas lack are left out.
fn message(lines: &BTreeMap<String, &'static str>, of: &'static Type, name: &str) -> Message {
    let mut message = Message::new();
    let package = name.rsplit_once('.').map_or("", |(package, _)| package);
    let mut number = 0;
    for word in lines.get(name).copied().unwrap_or_default().split(' ') {
        if let Ok(said) = word.parse::<u32>() {
            number = said - 1;
            continue;
        }
        number += 1;
        let field = match word.strip_prefix('+') {
            Some(inner) => Some(Field::Inline(self::message(lines, of, &format!("{package}.{inner}")))),
            None => own(of, word),
        };
        message.extend(field.map(|field| (number, field)));
    }
    message
}

fn own(of: &'static Type, word: &'static str) -> Option<Field> {
    let (name, is_zero_absent) = match word.strip_suffix('-') {
        Some(name) => (name, true),
        None => (word, false),
    };
    let shape = of.fields.get(name)?;
    Some(Field::Own { name, shape, is_zero_absent })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(message: &Message, found: &mut BTreeSet<&'static str>) {
        for field in message.values() {
            match field {
                Field::Own { name, .. } => assert!(found.insert(name), "{name} is there twice"),
                Field::Inline(inner) => names(inner, found),
            }
        }
    }

    #[test]
    fn every_field_of_every_kind_has_its_number() {
        let mut without = Vec::new();
        for (message, of) in MESSAGES.iter().zip(MODEL.types()) {
            let mut numbered = BTreeSet::from(["apiVersion", "kind"]);
            if numbered
                .iter()
                .any(|name| message.values().any(|f| matches!(f, Field::Own { name: n, .. } if n == name)))
            {
                numbered.clear();
            }
            names(message, &mut numbered);
            without.extend(
                of.fields
                    .keys()
                    .filter(|name| !numbered.contains(&***name))
                    .map(|name| format!("{}.{name}", of.name)),
            );
            assert!(!of.fields.values().any(|shape| *shape == Shape::Float), "{} has a fraction", of.name);
        }
        assert_eq!(without, Vec::<String>::new());
    }

    #[test]
    fn the_table_has_no_line_that_nothing_reads() {
        let inline: BTreeSet<&str> =
            TABLE.split_whitespace().filter_map(|word| word.strip_prefix('+')).collect();
        let known: BTreeSet<&str> = MODEL.types().iter().map(|of| &*of.name).collect();
        let unread: Vec<String> = lines()
            .into_keys()
            .filter(|name| !known.contains(&**name))
            .filter(|name| !name.rsplit('.').next().is_some_and(|last| inline.contains(last)))
            .collect();
        assert_eq!(unread, Vec::<String>::new());
    }
}
