//! `hostler completions SHELL`: the script by which a shell completes the command line.

use clap_complete::aot::{Bash, Fish, Generator, Zsh, generate};
use hostler_core::codes::ExitCode;

use crate::cli::{CompletionsArgs, Shell, command};
use crate::failure::Outcome;
use crate::output;

pub fn run(arguments: &CompletionsArgs) -> Outcome {
    output::text(&match arguments.shell {
        Shell::Bash => script(Bash),
        Shell::Zsh => script(Zsh),
        Shell::Fish => script(Fish),
    })?;
    Ok(ExitCode::Ok)
}

fn script(shell: impl Generator) -> String {
    let mut script = Vec::new();
    generate(shell, &mut command(), "hostler", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
