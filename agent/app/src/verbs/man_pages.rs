//! `hostler man-pages DIR`: the manual pages that the packages install, `hostler.1`, one for each verb, and one for each file that
//! people write.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use hostler_core::codes::ExitCode;

use crate::cli::{AFTER_HELP, ManPagesArgs, examples};
use crate::failure::Outcome;

mod appspec;
mod configuration;
mod page;
mod schema;
#[cfg(test)]
mod tests;

use page::Page;

pub fn run(arguments: &ManPagesArgs) -> Outcome {
    let mut command = crate::cli::command().disable_help_subcommand(true);
    fs::create_dir_all(&arguments.directory).with_context(|| format!("making {}", arguments.directory.display()))?;
    // Only then do the verbs have the flags that all of them share.
    command.build();
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write(&arguments.directory, verb, of_verb)?;
    }
    write(&arguments.directory, &command, of_program)?;
    for page in [configuration::page(), appspec::page().context("reading the schema of appspecs")?] {
        write_page(&arguments.directory, &page)?;
    }
    Ok(ExitCode::Ok)
}

fn write(
    directory: &Path,
    command: &Command,
    page: impl Fn(&Man, &mut Vec<u8>, &str) -> io::Result<()>,
) -> anyhow::Result<()> {
    let (man, name) = (Man::new(command.clone()), command.get_display_name().unwrap_or_else(|| command.get_name()));
    let (path, mut text) = (directory.join(man.get_filename()), Vec::new());
    title(&mut text, name, 1)?;
    page(&man, &mut text, command.get_name())
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("writing {}", path.display()))
}

fn write_page(directory: &Path, page: &Page) -> anyhow::Result<()> {
    let (path, mut text) = (directory.join(page.file_name()), Vec::new());
    page.write(&mut text).and_then(|()| fs::write(&path, text)).with_context(|| format!("writing {}", path.display()))
}

/// The first line of a page. The crate leaves out the empty date, which the same pages at every build have.
fn title(page: &mut Vec<u8>, name: &str, section: u8) -> io::Result<()> {
    writeln!(page, ".TH {name} {section} \"\" \"{}\" hostler", concat!("hostler ", env!("CARGO_PKG_VERSION")))
}

/// What the pages of verbs have in common.
fn begin(man: &Man, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)
}

fn of_verb(man: &Man, page: &mut Vec<u8>, verb: &str) -> io::Result<()> {
    begin(man, page)?;
    let mut roff = Roff::new();
    sections(&mut roff, examples::of(verb));
    roff.control("SH", ["SEE ALSO"]).text([roman("hostler(1)")]).to_writer(page)
}

/// As for a verb, but what the help ends with gets the headings that readers of manual pages look for.
fn of_program(man: &Man, page: &mut Vec<u8>, _program: &str) -> io::Result<()> {
    begin(man, page)?;
    man.render_subcommands_section(page)?;
    let mut roff = Roff::new();
    sections(&mut roff, AFTER_HELP);
    roff.to_writer(page)
}

/// What a help text ends with, as sections: a heading, and lines that are as wide as they should be, in columns.
fn sections(roff: &mut Roff, text: &str) {
    for part in text.split("\n\n").filter(|part| !part.is_empty()) {
        let (heading, lines) = part.split_once('\n').unwrap_or((part, ""));
        roff.control("SH", [heading.trim_end_matches(':').to_uppercase().as_str()]);
        roff.control("nf", []);
        lines.lines().for_each(|line| {
            roff.text([roman(line.trim_start())]);
        });
        roff.control("fi", []);
    }
}
