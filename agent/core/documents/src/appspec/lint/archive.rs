//! Findings that appear only when an archive is unpacked or a directory is read.

use super::super::codes::Code;
use super::super::diagnose::{Diagnostic, Findings, quoted};
use crate::bundle::{Adaptation, Adapted};

/// Warnings about entries that were adapted; `name` is the bundle's name in the diagnostics.
pub fn lint_archive(name: &str, adapted: &[Adapted]) -> Vec<Diagnostic> {
    let mut findings = Findings::new(name, adapted.len());
    for Adapted { how, first, number } in adapted {
        let first = quoted(first);
        let (code, what, help) = match how {
            Adaptation::LeadingSlash => (
                Code::LeadingSlash,
                counted(*number, "has a name that begins", "have names that begin")
                    + " with a slash, which is taken away",
                "names count from the bundle's top; pack with relative names",
            ),
            Adaptation::Capabilities => (
                Code::CapabilitiesLeftOut,
                counted(*number, "has file capabilities", "have file capabilities") + ", which are not kept",
                "run setcap in AfterInstall",
            ),
            Adaptation::Owner => (
                Code::OwnersLeftOut,
                counted(*number, "has another owner", "have other owners")
                    + " than the archive's first entry; owners are not kept",
                "write owners below `permissions` in the appspec",
            ),
        };
        findings.add(code, None, format!("{what}: {first}{}", if *number > 1 { " first" } else { "" })).help(help);
    }
    findings.into_list()
}

fn counted(number: u64, one: &str, several: &str) -> String {
    match number {
        1 => format!("1 entry {one}"),
        number => format!("{number} entries {several}"),
    }
}
