//! The verbs in groups, as the general help shows them.

use std::fmt::Write as _;

use clap::Command;

/// What a group of verbs is for, and the verbs. A verb that no group names stands in the last one.
const GROUPS: &[(&str, &[&str])] = &[
    ("On a host", &["run", "deploy", "rollback", "resume", "remove", "status", "history", "logs", "stop", "reload"]),
    ("Bundles and releases", &["init", "validate", "plan", "push", "release", "releases", "revisions"]),
    ("Signatures", &["keygen", "sign", "rotate-keys"]),
    ("Setting hosts up", &["doctor", "migrate", "seal", "signal"]),
    ("Others", &[]),
];

/// The template of the general help: the verbs in their groups, then flags and what follows.
pub fn help_template(command: &Command) -> String {
    let verbs: Vec<&Command> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).collect();
    let width = verbs.iter().map(|verb| verb.get_name().len()).max().unwrap_or_default();
    let named = |verb: &&&Command| GROUPS.iter().any(|(_, names)| names.contains(&verb.get_name()));
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n\n".to_owned();
    for (heading, names) in GROUPS {
        let of_group = names.iter().filter_map(|name| verbs.iter().find(|verb| verb.get_name() == *name));
        let others = verbs.iter().filter(|verb| names.is_empty() && !named(verb));
        let _ = writeln!(text, "{heading}:");
        for verb in of_group.chain(others) {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {:<width$}  {about}", verb.get_name());
        }
        if names.is_empty() {
            let _ = writeln!(text, "  {:<width$}  Print this message or the help of the given verb", "help");
        }
        text.push('\n');
    }
    text + "Options:\n{options}{after-help}"
}
