//! Which shape and encoding a client wants, and which encoding it sends.

use crate::api::protobuf;
use crate::api::status::Status;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encoding {
    /// `application/json`
    #[default]
    Json,
    /// `application/yaml`
    Yaml,
}

impl Encoding {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

/// What is shown of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Shape {
    /// All of it.
    #[default]
    Whole,
    /// A row of a Table.
    Table,
    /// Its metadata.
    Metadata,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Wish {
    /// How it is written.
    pub encoding: Encoding,
    /// What is shown.
    pub shape: Shape,
}

/// One alternative of an Accept header.
pub struct Alternative<'a> {
    /// E.g. `application/json`, lower case is up to the client.
    pub media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Alternative<'_> {
    /// A parameter such as `as`, `g`, `v`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    fn quality(&self) -> f32 {
        self.parameter("q").and_then(|q| q.parse().ok()).unwrap_or(1.0)
    }
}

/// The alternatives of an Accept header, the most wanted first.
pub fn alternatives(accept: &str) -> Vec<Alternative<'_>> {
    let mut found: Vec<Alternative<'_>> = accept
        .split(',')
        .map(|range| {
            let mut pieces = range.split(';').map(str::trim);
            let media_type = pieces.next().unwrap_or_default();
            let parameters = pieces.filter_map(|piece| piece.split_once('=')).collect();
            Alternative { media_type, parameters }
        })
        .filter(|alternative| !alternative.media_type.is_empty() && alternative.quality() > 0.0)
        .collect();
    found.sort_by(|a, b| b.quality().total_cmp(&a.quality()));
    found
}

/// The best that can be done for an Accept header; shapes other than the whole only where `transforms` says so.
pub fn wish(accept: Option<&str>, transforms: bool) -> Result<Wish, Status> {
    let Some(accept) = accept.filter(|text| !text.trim().is_empty()) else { return Ok(Wish::default()) };
    alternatives(accept).iter().find_map(|alternative| served(alternative, transforms)).ok_or_else(|| {
        Status::new(
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml",
        )
    })
}

fn served(alternative: &Alternative<'_>, transforms: bool) -> Option<Wish> {
    let encoding = match alternative.media_type {
        "application/json" | "application/*" | "*/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        _ => return None,
    };
    let shape = match alternative.parameter("as") {
        None => return Some(Wish { encoding, shape: Shape::Whole }),
        Some("Table") => Shape::Table,
        Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Shape::Metadata,
        Some(_) => return None,
    };
    let known = alternative.parameter("g") == Some("meta.k8s.io") && alternative.parameter("v") == Some("v1");
    (known && transforms).then_some(Wish { encoding, shape })
}

/// How a request's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`, of the kinds that [`protobuf`] reads.
    Protobuf,
}

/// The encoding of a request's body.
pub fn sent(content_type: Option<&str>) -> Result<Sent, Status> {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match media_type.to_ascii_lowercase().as_str() {
        "" | "application/json" => Ok(Sent::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Sent::Yaml),
        protobuf::MEDIA_TYPE => Ok(Sent::Protobuf),
        _ => Err(Status::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wanted_form_that_is_served_wins() {
        let whole = Wish::default();
        let table = Wish { shape: Shape::Table, ..whole };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;\
                       g=meta.k8s.io,application/json";
        let expected = [
            (None, true, Some(whole)),
            (Some("*/*"), true, Some(whole)),
            (Some(kubectl), true, Some(table)),
            (Some(kubectl), false, Some(whole)),
            (Some("application/vnd.kubernetes.protobuf,application/json"), true, Some(whole)),
            (Some("application/vnd.kubernetes.protobuf"), true, None),
            (Some("application/json;as=Table;v=v1;g=meta.k8s.io"), false, None),
            (
                Some("application/json;q=0.5, application/yaml"),
                true,
                Some(Wish { encoding: Encoding::Yaml, ..whole }),
            ),
            (
                Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"),
                true,
                Some(Wish { shape: Shape::Metadata, ..whole }),
            ),
        ];
        for (accept, transforms, answer) in expected {
            assert_eq!(wish(accept, transforms).ok(), answer, "{accept:?}");
        }
    }

    #[test]
    fn protobuf_bodies_are_refused_by_name() {
        assert_eq!(sent(None).unwrap(), Sent::Json);
        assert_eq!(sent(Some("application/json; charset=utf-8")).unwrap(), Sent::Json);
        assert_eq!(sent(Some("application/vnd.kubernetes.protobuf")).unwrap(), Sent::Protobuf);
        assert_eq!(sent(Some("application/cbor")).unwrap_err().code, 415);
    }
}
