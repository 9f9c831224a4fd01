//! `hostler-appspec.5`: the appspec file, from the JSON Schema for editors. Tests hold the schema to what the parser reads.

use serde_json::Value;

use super::page::Page;
use super::schema::Node;

const SCHEMA: &str = include_str!("../../../../../packaging/schema/appspec.schema.json");

const DESCRIPTION: &[&str] = &[
    "The file `appspec.yml`, or else `appspec.yaml`, at the top of a bundle says what a deployment installs and which scripts it \
     runs. The format is the one of AWS CodeDeploy for EC2 hosts. The block `hostler` is hostler's own, and the CodeDeploy agent \
     ignores it.",
    "An unknown key below `hostler` is an error, and elsewhere a warning. `hostler validate DIR` names the line of each mistake, and \
     `hostler plan DIR` shows what a deployment would do.",
    "A key is named by its place: `files[]` is each entry of the list `files`, and EVENT and LOCATION stand for the name of a \
     lifecycle event and the path of a script.",
];

const EXAMPLE: &str = "version: 0.0
os: linux
files:
  - source: site
    destination: /srv/web
hooks:
  ApplicationStart:
    - location: hooks/start.sh
      timeout: 60
hostler:
  health:
    - http: {url: 'http://127.0.0.1:8080/health'}
";

/// # Errors
/// When the schema that is built in cannot be read.
pub fn page() -> serde_json::Result<Page> {
    let schema: Node = serde_json::from_str(SCHEMA)?;
    let mut page = Page::new("hostler-appspec", "the appspec file of a revision bundle, as hostler reads it");
    page.heading("DESCRIPTION");
    DESCRIPTION.iter().for_each(|text| page.paragraph(text));
    page.heading("VALUES");
    for (name, form) in schema.definitions.0.iter().filter(|(_, form)| !form.description.is_empty()) {
        page.key(name, "", &form.description);
    }
    page.heading("KEYS");
    section("", &schema, &schema, &mut page);
    page.heading("EXAMPLES");
    page.example(EXAMPLE);
    page.heading("FILES");
    page.key("/usr/share/hostler/schema/appspec.schema.json", "", "The JSON Schema of these keys, for editors.");
    page.heading("SEE ALSO");
    page.paragraph("hostler(1), hostler-init(1), hostler-validate(1), hostler-plan(1), hostler.yaml(5)");
    Ok(page)
}

/// The keys of a place, and then the places below it.
fn section(place: &str, node: &Node, schema: &Node, page: &mut Page) {
    let keys = &node.properties.0;
    if !keys.is_empty() {
        page.place(if place.is_empty() { "At the top" } else { place });
    }
    for (name, key) in keys {
        let required = if node.required.contains(name) { " Required." } else { "" };
        let says = format!("{}{required}", key.description);
        page.key(name, &value(key), if says.is_empty() { "The scripts of this event." } else { &says });
    }
    // All names of such a place have the same keys, which are explained once.
    if let Some(any) = node.of_any_name() {
        let (place, any) = inner(&below(place, wildcard(place)), &any, schema);
        return section(&place, &any, schema, page);
    }
    for (name, key) in keys {
        let (place, key) = inner(&below(place, name), key, schema);
        section(&place, &key, schema, page);
    }
}

/// What has the keys: the entries of a list, or what a reference names.
fn inner(place: &str, node: &Node, schema: &Node) -> (String, Node) {
    let referred = node.reference.as_deref().and_then(|name| schema.definition(name));
    match (referred, node.items.as_deref()) {
        (Some(definition), _) => inner(place, definition, schema),
        (None, Some(items)) => inner(&format!("{place}[]"), items, schema),
        (None, None) => (place.to_owned(), node.clone()),
    }
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// The names in `hooks` are events, and below them scripts.
fn wildcard(place: &str) -> &'static str {
    if place.contains("EVENT") { "LOCATION" } else { "EVENT" }
}

/// What may be written, in words.
fn value(node: &Node) -> String {
    if let Some(name) = node.reference.as_deref() {
        return name.rsplit('/').next().unwrap_or(name).to_owned();
    }
    if let Some(only) = &node.only {
        return format!("`{only}`").replace('"', "");
    }
    if !node.choices.is_empty() {
        let words = node.choices.iter().filter_map(Value::as_str).map(|word| format!("`{word}`"));
        return words.collect::<Vec<_>>().join(", ");
    }
    let kinds = node.kinds().into_iter().filter_map(kind).collect::<Vec<_>>().join(" or ");
    match (node.minimum, node.maximum, node.items.as_deref()) {
        (Some(least), Some(most), _) => format!("{kinds}, {least} to {most}"),
        (Some(least), None, _) => format!("{kinds}, at least {least}"),
        (_, _, Some(items)) if !items.choices.is_empty() => format!("{kinds} of {}", value(items)),
        _ => kinds,
    }
}

/// A type in words; nothing for `null`, which is a key without a value.
fn kind(name: &str) -> Option<&'static str> {
    match name {
        "string" => Some("text"),
        "integer" => Some("whole number"),
        "number" => Some("number"),
        "boolean" => Some("`true` or `false`"),
        "array" => Some("list"),
        "object" => Some("keys with values"),
        _ => None,
    }
}
