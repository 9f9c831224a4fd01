//! `hostler doctor`: finds problems in this host's set-up.

use std::fmt::Write as _;

use hostler_core::codes::ExitCode;
use hostler_core::doctor::{Report, Severity};

use crate::cli::{DoctorArgs, Shared};
use crate::doctor;
use crate::failure::Outcome;
use crate::output;
use crate::terminal::FINDINGS;

pub fn run(shared: &Shared, arguments: &DoctorArgs) -> Outcome {
    super::block_on(async {
        let report = doctor::examine(shared, arguments.write).await?;
        if shared.json {
            output::json(&report)?;
        } else {
            output::painted(&text(&report), FINDINGS)?;
        }
        Ok(if report.is_good() { ExitCode::Ok } else { ExitCode::Failed })
    })
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
    let _ = writeln!(text, "{errors} error(s), {warnings} warning(s)");
    text
}
