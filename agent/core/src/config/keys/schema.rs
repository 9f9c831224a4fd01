//! The JSON Schema for editors: `packaging/schema/config.schema.json`.

use serde_json::{Map, Value, json};

use super::tests::required;
use super::{Key, Kind, Usual};
use crate::values::{boolean, duration, size, whole};

/// The definitions of an appspec's schema that are not about scripts of a bundle.
const SHARED: &[&str] = &["duration", "size", "boolean", "count"];

/// The whole schema; `appspec` is the one of appspecs, which has the health checks.
pub(super) fn schema(appspec: &Value) -> Value {
    let checks = appspec.pointer("/properties/hostler/properties/health").unwrap();
    let mut schema = section("", checks);
    let fields = schema.as_object_mut().unwrap();
    fields.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    fields.insert("$id".to_owned(), json!("https://hostler.example/schema/config.schema.json"));
    fields.insert("title".to_owned(), json!("The configuration of hostler"));
    let defs: Map<String, Value> =
        SHARED.iter().map(|name| ((*name).to_owned(), appspec["$defs"][*name].clone())).collect();
    fields.insert("$defs".to_owned(), json!(defs));
    schema
}

fn section(place: &str, checks: &Value) -> Value {
    let properties: Map<String, Value> =
        super::below(place).map(|key| (key.name().to_owned(), property(key, checks))).collect();
    let required: Vec<&str> = required(place).iter().map(|(name, _)| *name).collect();
    let mut section = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        section["required"] = json!(required);
    }
    section
}

fn property(key: &Key, checks: &Value) -> Value {
    let mut property = value(key.path, &key.kind, checks);
    let default = match key.default {
        Usual::Nothing => String::new(),
        Usual::Value(value) => format!(" {value} without it."),
        Usual::Words(words) => format!(" Without it: {words}."),
    };
    property["description"] = json!(format!("{}{default}", key.says));
    property
}

fn value(path: &str, kind: &Kind, checks: &Value) -> Value {
    let text = json!({ "type": ["string", "number", "boolean"] });
    let path_text = json!({ "type": "string", "pattern": "^/" });
    match kind {
        Kind::Section => section(path, checks),
        Kind::OpenSection => json!({ "anyOf": [section(path, checks), { "type": "null" }] }),
        Kind::Sections => json!({ "type": "array", "items": section(&format!("{path}[]"), checks) }),
        Kind::Names => json!({ "type": "object", "additionalProperties": text }),
        Kind::Checks => checks.clone(),
        Kind::Text => text,
        Kind::Form(_) => json!({ "type": "string", "minLength": 1 }),
        Kind::Texts => json!({ "anyOf": [text, { "type": "array", "items": text }] }),
        Kind::Boolean => json!({ "$ref": "#/$defs/boolean" }),
        Kind::Duration(least, most) | Kind::Milliseconds(least, most) => {
            bounded(json!({ "$ref": "#/$defs/duration" }), *least, *most)
        }
        Kind::Size(least, most) => bounded(json!({ "$ref": "#/$defs/size" }), *least, *most),
        Kind::Whole(least, most) => {
            bounded(json!({ "type": ["integer", "string"], "pattern": "^[0-9]+$" }), *least, *most)
        }
        Kind::Numbers(numbers) => json!({ "enum": numbers }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Words(words) => json!({ "type": "array", "items": { "enum": words } }),
        Kind::Path => path_text,
        Kind::Paths => json!({ "anyOf": [path_text, { "type": "array", "items": path_text }] }),
        Kind::Either(one, other) => json!({ "anyOf": [value(path, one, checks), value(path, other, checks)] }),
    }
}

/// Bounds of a number; a text of another spelling is left to the reader.
fn bounded(mut value: Value, least: u64, most: u64) -> Value {
    value["minimum"] = json!(least);
    if most < u64::MAX {
        value["maximum"] = json!(most);
    }
    value
}

/// Whether an editor that goes by a definition takes this text.
fn takes(appspec: &Value, name: &str, text: &str) -> bool {
    let pattern = appspec["$defs"][name]["pattern"].as_str().unwrap();
    !text.is_empty() && regex::Regex::new(pattern).unwrap().is_match(text)
}

/// The schema of an appspec's `hostler:` block and the one of the configuration share these patterns.
pub(super) fn assert_patterns(appspec: &Value) {
    for text in ["", "90", "090s", "5m", "1h30m", "1d2h3m4s", "30m1h", "5w", "5 m", "1.5m", "s", "soon", "-1"] {
        assert_eq!(takes(appspec, "duration", text), duration(text, &(0..=u64::MAX)).is_ok(), "{text:?}");
    }
    for text in ["", "0", "512", "2G", "8KiB", "2g", "2GB", "1.5G", "5iB", "K", "-1"] {
        assert_eq!(takes(appspec, "size", text), size(text, &(0..=u64::MAX)).is_ok(), "{text:?}");
    }
    for text in ["", "0", "1", "064", "x", "-1"] {
        assert_eq!(takes(appspec, "count", text), whole(text, &(1..=u64::MAX)).is_ok(), "{text:?}");
    }
    for text in ["", "true", "True", "YES", "no", "on", "oFF", "y", "1", "maybe"] {
        assert_eq!(takes(appspec, "boolean", text), boolean(text).is_ok(), "{text:?}");
    }
}
