//! The flags that say what is printed, and how; and the colours of the help itself.

use std::ffi::OsString;

use clap::{ArgAction, Args, ValueEnum};

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR or CLICOLOR say otherwise
    Auto,
    /// Everywhere
    Always,
    /// Nowhere
    Never,
}

impl From<ColorWhen> for anstream::ColorChoice {
    fn from(when: ColorWhen) -> Self {
        match when {
            ColorWhen::Auto => Self::Auto,
            ColorWhen::Always => Self::Always,
            ColorWhen::Never => Self::Never,
        }
    }
}

/// What is printed, and how.
#[derive(Debug, Clone, Copy, Args)]
pub struct Display {
    /// Use colours: auto is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = true)]
    pub color: ColorWhen,
    /// Print only errors and the result
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print what the agent does on standard error; twice for debugging
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// The colours of the help and of usage errors, which `--color` chooses before all other arguments are read.
pub fn of_help() -> clap::ColorChoice {
    match asked_colour(std::env::args_os().skip(1)) {
        Some(ColorWhen::Always) => clap::ColorChoice::Always,
        Some(ColorWhen::Never) => clap::ColorChoice::Never,
        Some(ColorWhen::Auto) | None => clap::ColorChoice::Auto,
    }
}

/// The value of `--color`, before all other arguments are read.
fn asked_colour(arguments: impl Iterator<Item = OsString>) -> Option<ColorWhen> {
    let words: Vec<OsString> = arguments.take_while(|word| word != "--").collect();
    let mut found = None;
    for (index, word) in words.iter().enumerate() {
        let value = match word.to_str().and_then(|word| word.strip_prefix("--color")) {
            Some("") => words.get(index + 1).and_then(|value| value.to_str()),
            Some(value) => value.strip_prefix('='),
            None => None,
        };
        found = value.and_then(|value| ColorWhen::from_str(value, false).ok()).or(found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colours_of_the_help_are_known_before_it_is_printed() {
        let of = |line: &str| asked_colour(line.split(' ').map(OsString::from));
        assert_eq!(of("--color never --help"), Some(ColorWhen::Never));
        assert_eq!(of("status --color=always"), Some(ColorWhen::Always));
        assert_eq!(of("status --color"), None);
        assert_eq!(of("deploy -- --color=always"), None);
        assert_eq!(of("status --colors=always"), None);
    }
}
