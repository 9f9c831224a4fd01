//! The reference for people: the part of `docs/usage/configuration.md` between its marks.

use super::tests::{document, whole_place};
use super::{Key, Kind, TABLE, Usual};

/// The part of the page that comes from the table.
pub(super) fn reference() -> String {
    let mut text = String::new();
    let mut places: Vec<&str> = Vec::new();
    for key in TABLE.iter().copied().flatten() {
        if !places.contains(&key.parent()) {
            places.push(key.parent());
        }
    }
    places.iter().for_each(|place| section(place, &mut text));
    text
}

fn section(place: &str, text: &mut String) {
    let title = if place.is_empty() { "At the top".to_owned() } else { format!("`{place}`") };
    text.push_str(&format!("### {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"));
    for key in super::below(place) {
        text.push_str(&row(key));
    }
    text.push_str(&format!("\n```yaml\n# hostler.yaml\n{}```\n\n", whole_place(place)));
}

fn row(key: &Key) -> String {
    let default = match key.default {
        Usual::Nothing => "-".to_owned(),
        Usual::Value(value) => format!("`{}`", value.trim_matches('\'')),
        Usual::Words(words) => words.to_owned(),
    };
    let is_section = matches!(key.kind, Kind::Section | Kind::OpenSection | Kind::Sections);
    let (value, default) = if is_section { (key.kind.words(), "-".to_owned()) } else { (key.kind.words(), default) };
    // A bar would end the cell.
    let says = format!("{}{}", key.says, needs(key)).replace('|', "\\|");
    format!("| `{}` | {value} | {default} | {says} |\n", key.name())
}

/// The one key beside it that a reader has to know of.
fn needs(key: &Key) -> String {
    match key.needs.split_once('\n').map_or(key.needs, |(first, _)| first) {
        mode if mode.starts_with("mode:") => format!(" Only with `{mode}`."),
        _ => String::new(),
    }
}

#[test]
fn a_row_says_type_default_and_meaning() {
    let poll = super::all().find(|key| key.path == "poll").unwrap();
    let row = row(poll);
    assert!(row.starts_with("| `poll` | duration, 1s to 366d | `60s` | The time between"), "{row}");
    assert_eq!(document(poll, "5m"), "poll: 5m\n");
}
