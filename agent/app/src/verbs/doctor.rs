//! `hostler doctor`: finds problems in this host's set-up.

use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use hostler_core::codes::ExitCode;
use hostler_core::doctor::environment::Variable;
use hostler_core::doctor::{Report, Severity};
use hostler_core::text::counted;

use crate::cli::{DoctorArgs, Shared};
use crate::doctor::{self, environment};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::terminal::FINDINGS;

pub fn run(shared: &Shared, arguments: &DoctorArgs) -> Outcome {
    super::block_on(async {
        let setup = Setup::of_flags(shared)?;
        if let Some((whose, variables)) = environment::of_agent(&setup).await {
            return Err(with_environment(&whose, variables));
        }
        let report = doctor::examine(shared, arguments.write).await?;
        let printed = if shared.json { output::json(&report) } else { output::painted(&text(&report), FINDINGS) };
        output::unless_closed(printed)?;
        Ok(if report.is_good() { ExitCode::Ok } else { ExitCode::Failed })
    })
}

/// Goes on as a process that has the agent's variables: a process can change its own only where nothing else runs in it.
/// Comes back only if that fails.
fn with_environment(whose: &str, variables: Vec<Variable>) -> Failure {
    let mut again = Command::new("/proc/self/exe");
    again.arg0("hostler").args(std::env::args_os().skip(1)).envs(variables).env(environment::WHOSE, whose);
    Failure::from(anyhow::Error::new(again.exec()).context("cannot start doctor with the environment of the agent"))
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let message = finding.message.trim_end().replace('\n', "\n                             ");
        let _ = writeln!(text, "{:<8} {:<19} {message}", finding.severity.word(), finding.code.name());
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(text, "{:<28} -> {remedy}", "");
        }
    }
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let _ = writeln!(text, "{}, {}", counted(errors, "error"), counted(warnings, "warning"));
    text
}
