//! The keys below `machine_events`.

use super::{Findings, Node, known, mapping, seconds};
use crate::config::settings::MachineEventSettings;

/// Keys below `machine_events`.
const KEYS: &[&str] = &["timeout"];

pub(super) fn read(settings: &mut MachineEventSettings, node: &Node, findings: &mut Findings) {
    let Some(entries) = mapping(node, "machine_events", findings) else { return };
    for entry in known(entries, KEYS, "machine_events", findings) {
        settings.timeout_seconds = seconds(entry, findings).unwrap_or(settings.timeout_seconds);
    }
}
