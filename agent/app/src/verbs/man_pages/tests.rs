//! The pages of section 5 hold what their tables hold.
// A test reports a failure by panicking.
#![allow(clippy::unwrap_used)]

use hostler_core::appspec::keys as appspec_keys;
use hostler_core::config::keys;

use super::{Page, appspec, configuration};

/// A page without the escapes of the format.
fn text(page: &Page) -> String {
    let mut bytes = Vec::new();
    page.write(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let escapes = [("\\-", "-"), ("\\*(Aq", "'"), ("\\fB", ""), ("\\fR", ""), ("\\&", "")];
    escapes.iter().fold(text, |text, (escape, meant)| text.replace(escape, meant))
}

/// The lines between the heading of a place and the next heading.
fn of_place<'p>(page: &'p str, place: &str) -> Vec<&'p str> {
    let heading = if place.contains(' ') { format!(".SS \"{place}\"") } else { format!(".SS {place}") };
    let lines = page.lines().skip_while(|line| *line != heading).skip(1);
    lines.take_while(|line| !line.starts_with(".S")).collect()
}

fn has_key(lines: &[&str], name: &str) -> bool {
    lines.windows(2).any(|pair| pair[0] == ".TP" && pair[1].split_whitespace().next() == Some(name))
}

#[test]
fn the_page_of_the_configuration_has_every_key_with_its_meaning() {
    let page = text(&configuration::page());
    for key in keys::all() {
        let place = if key.parent().is_empty() { "At the top" } else { key.parent() };
        let lines = of_place(&page, place);
        assert!(has_key(&lines, key.name()), "{} is not in {lines:#?}", key.path);
        assert!(page.contains(&key.says.replace('`', "")), "{}", key.path);
    }
    assert!(page.contains("Default: 60s."), "{page}");
}

#[test]
fn the_page_of_the_appspec_has_every_key() {
    let page = text(&appspec::page().unwrap());
    for (place, names) in [
        ("At the top", appspec_keys::TOP),
        ("files[]", appspec_keys::FILE),
        ("permissions[]", appspec_keys::PERMISSION),
        ("permissions[].context", appspec_keys::CONTEXT),
        ("hooks", appspec_keys::EVENTS),
        ("hooks.EVENT[]", appspec_keys::SCRIPT),
        ("hostler", appspec_keys::EXTENSION),
        ("hostler.install", appspec_keys::INSTALL),
        ("hostler.hooks.EVENT.LOCATION", appspec_keys::HOOK_OPTIONS),
        ("hostler.hooks.EVENT.LOCATION.limits", appspec_keys::HOOK_LIMITS),
        ("hostler.health[]", appspec_keys::HEALTH),
        ("hostler.health[].http", appspec_keys::HEALTH_HTTP),
        ("hostler.health[].process", appspec_keys::HEALTH_PROCESS),
        ("hostler.health[].command", appspec_keys::HEALTH_COMMAND),
        ("hostler.traffic", appspec_keys::TRAFFIC),
    ] {
        let lines = of_place(&page, place);
        for name in names {
            assert!(has_key(&lines, name), "{name} is not in {place}: {lines:#?}\n{page}");
        }
    }
    for text in ["\nfiles  list\n", "\nlocation  text\n", "Required.", "\ninterval  duration\n", "100 to 599"] {
        assert!(page.contains(text), "{text}:\n{page}");
    }
}
