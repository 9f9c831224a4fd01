//! `hostler.yaml.5`: the configuration, from the table of its keys.

use hostler_core::config::keys::{self, Key, Kind, Usual};

use super::page::Page;

const DESCRIPTION: &[&str] = &[
    "The agent reads `/etc/hostler/config.yaml`, and then every file `/etc/hostler/config.d/*.yaml` in the order of their names. \
     A value in a later file replaces the one in an earlier file. Two entries of `groups` are the same group if their application \
     and group are equal. A link to `/dev/null` masks a file. Without any file the agent follows no channel.",
    "Every key is optional, except where its description says that every entry has it. An unknown key and a value that does not \
     fit are errors. `hostler validate FILE` names the line of each.",
    "A key is named by its place: `groups[]` is each entry of the list `groups`, and `groups[].traffic` is the key `traffic` of an \
     entry.",
];

const VALUES: &[(&str, &str)] = &[
    (
        "duration",
        "`90` (seconds), or numbers with the units d, h, m and s, the longest first: `90s`, `5m`, `1h30m`, `1d`.",
    ),
    (
        "size",
        "`1000000` (bytes), or a number with one of the units K, M, G and T, which are powers of 1024: `512M`, `2G`, `2GiB`.",
    ),
    ("true or false", "These words, with or without quotes. `yes`, `no`, `on` and `off` are the same, in any case."),
    ("milliseconds", "`5000`, or a duration with a unit: `5s`."),
    ("list of texts", "`[one, two]`, one item a line, or a single text."),
];

const EXAMPLE: &str = "groups:
  - application: shop
    group: production
    channel: s3://my-bucket/deploy
";

pub fn page() -> Page {
    let mut page = Page::new("hostler.yaml", "configuration of the hostler agent");
    page.heading("DESCRIPTION");
    DESCRIPTION.iter().for_each(|text| page.paragraph(text));
    page.heading("VALUES");
    VALUES.iter().for_each(|(form, says)| page.key(form, "", says));
    page.heading("KEYS");
    for place in places() {
        page.place(if place.is_empty() { "At the top" } else { place });
        keys::below(place).for_each(|key| page.key(key.name(), &key.kind.words(), &says(key)));
    }
    page.heading("EXAMPLES");
    page.example(EXAMPLE);
    page.heading("FILES");
    page.paragraph("`/etc/hostler/config.yaml`, `/etc/hostler/config.d/*.yaml`");
    page.key("/usr/share/hostler/schema/config.schema.json", "", "The JSON Schema of these keys, for editors.");
    page.heading("SEE ALSO");
    page.paragraph("hostler(1), hostler-validate(1), hostler-reload(1), hostler-appspec(5)");
    page
}

/// The places of the table, each once.
fn places() -> Vec<&'static str> {
    let mut places = Vec::new();
    for place in keys::all().map(Key::parent) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

fn says(key: &Key) -> String {
    let is_section = matches!(key.kind, Kind::Section | Kind::OpenSection | Kind::Sections);
    let default = match key.default {
        Usual::Value(value) if !is_section => format!(" Default: `{}`.", value.trim_matches('\'')),
        Usual::Words(words) if !is_section => format!(" Default: {words}."),
        _ => String::new(),
    };
    // The one key beside it that a reader has to know of.
    let mode = key.needs.lines().next().filter(|first| first.starts_with("mode:"));
    let mode = mode.map(|mode| format!(" Only with `{mode}`.")).unwrap_or_default();
    format!("{}{mode}{default}", key.says)
}
