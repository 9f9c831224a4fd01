//! `hostler man-pages DIR`: the manual pages that the packages install, `hostler.1` and one for each verb.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use hostler_core::codes::ExitCode;

use crate::cli::{AFTER_HELP, Cli, ManPagesArgs};
use crate::failure::Outcome;

pub fn run(arguments: &ManPagesArgs) -> Outcome {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Only then do the verbs have the flags that all of them share.
    command.build();
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write(&arguments.directory, verb, of_verb)?;
    }
    write(&arguments.directory, &command, of_program)?;
    Ok(ExitCode::Ok)
}

fn write(
    directory: &Path,
    command: &Command,
    page: impl Fn(&Man, &mut Vec<u8>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let source = concat!("hostler ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("hostler");
    let (path, mut text) = (directory.join(man.get_filename()), Vec::new());
    page(&man, &mut text).and_then(|()| fs::write(&path, text)).with_context(|| format!("writing {}", path.display()))
}

fn of_verb(man: &Man, page: &mut Vec<u8>) -> io::Result<()> {
    man.render(page)?;
    Roff::new().control("SH", ["SEE ALSO"]).text([roman("hostler(1)")]).to_writer(page)
}

/// As for a verb, but what the help ends with gets the headings that readers of manual pages look for.
fn of_program(man: &Man, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    man.render_subcommands_section(page)?;
    let mut roff = Roff::new();
    for part in AFTER_HELP.split("\n\n") {
        let (heading, lines) = part.split_once('\n').unwrap_or((part, ""));
        roff.control("SH", [heading.trim_end_matches(':').to_uppercase().as_str()]);
        // The lines are as wide as they should be, and in columns.
        roff.control("nf", []);
        lines.lines().for_each(|line| {
            roff.text([roman(line.trim_start())]);
        });
        roff.control("fi", []);
    }
    roff.to_writer(page)
}
