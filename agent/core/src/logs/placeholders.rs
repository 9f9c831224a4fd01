//! `{instance_id}` and the like in the names of groups and streams.

/// The values of placeholders. A name that a source does not have is empty, and its placeholder is an error when the
/// configuration is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    values: Vec<(&'static str, String)>,
}

/// Placeholders of every source.
pub const OF_HOST: &[&str] = &["instance_id", "hostname", "ip_address"];
/// Placeholders of a file.
pub const OF_FILE: &[&str] = &["instance_id", "hostname", "ip_address", "file_name", "file_path"];
/// Placeholders of a deployment's log.
pub const OF_DEPLOYMENT: &[&str] =
    &["instance_id", "hostname", "ip_address", "application", "deployment_group", "deployment_id"];

impl Names {
    /// Adds a name; it replaces an earlier value of the same name.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.values.retain(|(known, _)| *known != name);
        self.values.push((name, value.into()));
        self
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// A text with every known placeholder replaced; unknown ones stay.
pub fn expand(template: &str, names: &Names) -> String {
    let mut out = String::new();
    each(template, |part| match part {
        Part::Text(text) => out.push_str(text),
        Part::Placeholder(name) => match names.value(name) {
            Some(value) => out.push_str(value),
            None => out.push_str(&format!("{{{name}}}")),
        },
    });
    out
}

/// The first placeholder of a text that is not in `known`.
pub fn unknown(template: &str, known: &[&str]) -> Option<String> {
    let mut found = None;
    each(template, |part| match part {
        Part::Placeholder(name) if !known.contains(&name) && found.is_none() => found = Some(name.to_owned()),
        _ => {}
    });
    found
}

/// Whether a text has this placeholder.
pub fn has(template: &str, wanted: &str) -> bool {
    let mut found = false;
    each(template, |part| found |= matches!(part, Part::Placeholder(name) if name == wanted));
    found
}

enum Part<'t> {
    Text(&'t str),
    Placeholder(&'t str),
}

fn each<'t>(template: &'t str, mut take: impl FnMut(Part<'t>)) {
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else { break };
        take(Part::Text(&rest[..open]));
        take(Part::Placeholder(&rest[open + 1..open + length]));
        rest = &rest[open + length + 1..];
    }
    take(Part::Text(rest));
}
