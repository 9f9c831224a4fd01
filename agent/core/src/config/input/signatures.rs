//! The keys below `signatures`: which keys must sign each source of deployments.

use super::field::{Field, VALUES, set};
use crate::appspec::codes::Code;
use crate::appspec::diagnose::{Diagnostic, Findings, quoted};
use crate::config::settings::SignatureSettings;
use crate::limits::Limits;
use crate::release::{PublicKey, SigningPolicy};
use crate::yaml::Position;

/// The sources of deployments.
const SOURCES: &[&str] = &["channel", "cli"];

/// What the files have set so far for one source.
#[derive(Default)]
struct Written {
    version: Option<u64>,
    threshold: Option<u32>,
    keys: Option<Vec<PublicKey>>,
    /// The last file and place that named it.
    named: Option<(String, Position)>,
}

/// What the files have set so far.
#[derive(Default)]
pub(super) struct Sources([Written; SOURCES.len()]);

impl Sources {
    /// Reads one file's section.
    pub(super) fn read(&mut self, section: &Field<'_>, file: &str, findings: &mut Findings) {
        for field in section.fields(findings) {
            let at = SOURCES.iter().position(|source| *source == field.name());
            let Some(source) = at.and_then(|at| self.0.get_mut(at)) else { continue };
            if field.entry.value.as_mapping().is_some() {
                source.named = Some((file.to_owned(), field.entry.key_at));
            }
            for part in field.fields(findings) {
                match part.name() {
                    "version" => set(&mut source.version, part.whole(findings)),
                    "threshold" => set(&mut source.threshold, part.whole(findings)),
                    "keys" => set(&mut source.keys, keys(&part, findings)),
                    _ => {}
                }
            }
        }
    }

    /// The result of all files together; a source without any settings has no policy.
    pub(super) fn finish(self, limits: &Limits) -> Result<SignatureSettings, Vec<Diagnostic>> {
        let mut wrong = Vec::new();
        for (name, source) in SOURCES.iter().zip(&self.0) {
            if let (Some((file, at)), Some((field, problem))) = (&source.named, source.problem()) {
                let mut findings = Findings::new(file, limits.diagnostics);
                findings
                    .add(Code::InvalidConfiguration, Some(*at), format!("signatures: {name}: {field} {problem}"))
                    .help("`hostler keygen` makes keys and prints these lines");
                wrong.extend(findings.into_list());
            }
        }
        let [channel, cli] = self.0.map(|written| written.policy());
        if wrong.is_empty() { Ok(SignatureSettings { channel, cli }) } else { Err(wrong) }
    }
}

impl Written {
    fn policy(&self) -> Option<SigningPolicy> {
        let keys = self.keys.clone()?;
        Some(SigningPolicy { version: self.version.unwrap_or(1), threshold: self.threshold.unwrap_or(1), keys })
    }

    fn problem(&self) -> Option<(&'static str, String)> {
        match self.policy() {
            // A named source without keys would look guarded and let everything through.
            None => Some(("keys", "are missing; without keys nothing is verified, so leave it out".to_owned())),
            Some(policy) => policy.check().err(),
        }
    }
}

fn keys(field: &Field<'_>, findings: &mut Findings) -> Option<Vec<PublicKey>> {
    let mut keys = Vec::new();
    let mut all_good = true;
    for (text, at) in VALUES.texts(field.entry, findings)? {
        match text.parse::<PublicKey>() {
            Ok(key) => keys.push(key),
            Err(error) => {
                let start: String = text.chars().take(20).collect();
                let message = format!("`keys`: {}: {error}", quoted(&start));
                findings.add(Code::InvalidConfiguration, Some(at), message);
                all_good = false;
            }
        }
    }
    all_good.then_some(keys)
}
