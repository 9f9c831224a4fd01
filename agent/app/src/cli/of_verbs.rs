//! What each verb offers of the flags that all verbs share, and the examples in its help.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::{Cli, display, examples, groups, usage};

/// The flags of all verbs that only some use, by their ids.
const ALL: &[&str] = &["config", "root", "state_dir", "application", "group", "channel", "json"];
/// Flags that name something: a verb that does not use them refuses them. The others do no harm anywhere.
const NAMES: &[&str] = &["state_dir", "application", "group", "channel"];

/// The flags that a verb uses.
fn used_by(verb: &str) -> &'static [&'static str] {
    match verb {
        "run" | "doctor" => ALL,
        "deploy" | "rollback" | "resume" | "remove" | "plan" | "logs" => {
            &["config", "root", "state_dir", "application", "group", "json"]
        }
        "status" | "history" => &["root", "state_dir", "application", "group", "json"],
        "release" | "releases" | "revisions" | "sign" | "rotate-keys" => {
            &["config", "root", "application", "group", "json"]
        }
        "reload" | "migrate" | "signal" => &["config", "root", "state_dir", "json"],
        "stop" | "seal" => &["root", "state_dir", "json"],
        "validate" | "push" | "keygen" => &["config", "root", "json"],
        "version" | "init" => &["json"],
        "completions" | "man-pages" => &[],
        // A verb without a row of its own.
        _ => ALL,
    }
}

/// The whole command line, with the help of each verb as it is shown.
pub fn command() -> Command {
    let command = Cli::command();
    let shared: Vec<Arg> = command.get_arguments().filter(|flag| flag.is_global_set()).cloned().collect();
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let command = verbs.iter().fold(command, |command, name| {
        let used = used_by(name);
        let unused = shared.iter().filter(|flag| {
            let id = flag.get_id().as_str();
            ALL.contains(&id) && !used.contains(&id)
        });
        // A flag of the verb's own takes the place of the one that all verbs share.
        let unused: Vec<Arg> = unused.map(|flag| flag.clone().hide(true)).collect();
        command.mut_subcommand(name, |verb| verb.args(unused).after_help(examples::of(name)))
    });
    let template = groups::help_template(&command);
    command.help_template(template)
}

/// The command line of this process; prints the help or a usage error and ends where that was asked for.
pub fn parse() -> Cli {
    try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// As [`parse`], of these words.
///
/// # Errors
/// A usage error, or the help that was asked for.
pub fn try_parse_from<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<Cli, clap::Error> {
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let wants_json = words.iter().any(|word| word == "--json");
    match read(words) {
        // clap prints the version at once, and knows one form of it.
        Err(error) if error.kind() == ErrorKind::DisplayVersion && wants_json => {
            read(["hostler", "version", "--json"].map(OsString::from).to_vec())
        }
        read => read,
    }
}

fn read(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = command().color(display::of_help());
    let matches = command.try_get_matches_from_mut(words).map_err(usage::shown)?;
    refuse_unused(&mut command, &matches)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn refuse_unused(command: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((verb, given)) = matches.subcommand() else { return Ok(()) };
    let used = used_by(verb);
    let is_given = |flag: &&&str| given.value_source(flag) == Some(ValueSource::CommandLine);
    let unused = NAMES.iter().filter(|flag| !used.contains(flag)).find(is_given);
    match unused {
        Some(flag) => {
            let message = format!("`hostler {verb}` does not use --{}", flag.replace('_', "-"));
            Err(command.error(ErrorKind::UnknownArgument, message))
        }
        None => Ok(()),
    }
}
