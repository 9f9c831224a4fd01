//! The keys below `signatures`: which keys must sign each source of deployments.

use super::{Diagnostic, Entry, Findings, Limits, Node, invalid, known, mapping, parsed, quoted, set, wrong_type};
use crate::appspec::codes::Code;
use crate::config::settings::SignatureSettings;
use crate::release::{PublicKey, SigningPolicy};
use crate::yaml::Position;

/// Keys below `signatures`: the sources of deployments.
const SOURCES: &[&str] = &["channel", "cli"];
/// Keys of a source.
const POLICY: &[&str] = &["version", "threshold", "keys"];

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
    pub(super) fn read(&mut self, node: &Node, file: &str, findings: &mut Findings) {
        let Some(entries) = mapping(node, "signatures", findings) else { return };
        for entry in known(entries, SOURCES, "signatures", findings) {
            let name = entry.key.text.as_str();
            let at = SOURCES.iter().position(|source| *source == name);
            let Some(source) = at.and_then(|at| self.0.get_mut(at)) else { continue };
            let Some(parts) = mapping(&entry.value, name, findings) else { continue };
            source.named = Some((file.to_owned(), entry.key_at));
            for part in known(parts, POLICY, &format!("signatures: {name}"), findings) {
                match part.key.text.as_str() {
                    "version" => set(&mut source.version, parsed(part, findings)),
                    "threshold" => set(&mut source.threshold, parsed(part, findings)),
                    _ => set(&mut source.keys, keys(part, findings)),
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

fn keys(entry: &Entry, findings: &mut Findings) -> Option<Vec<PublicKey>> {
    let Some(list) = entry.value.as_sequence() else {
        wrong_type(&entry.value, "keys", "a list of public keys", findings);
        return None;
    };
    let mut keys = Vec::new();
    let mut all_good = true;
    for node in list {
        let text = node.as_scalar().map_or("", |scalar| scalar.text.as_str());
        match text.parse() {
            Ok(key) => keys.push(key),
            Err(error) => {
                let start: String = text.chars().take(20).collect();
                all_good = false;
                invalid(entry, format!("{}: {error}", quoted(&start)), findings);
            }
        }
    }
    all_good.then_some(keys)
}
