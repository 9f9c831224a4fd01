//! The history's second place: after each deployment the end of its hash chain is sent to the systemd journal. To
//! change the history unseen, a user would have to edit the journal too.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use hostler_core::history::Anchor;
use hostler_core::ids::InstanceId;
use log::Record;
use serde::Deserialize;
use systemd_journal_logger::JournalLog;

/// Marks the journal's records that anchor a history; operators may search for it.
pub const ANCHOR_MESSAGE_ID: &str = "5f2d8a7c1be94d0f9c36b1f0a4e7d215";

/// Sends the end of a state directory's history to the journal; nothing where no journal listens.
pub fn send_anchor(state: &Path, host: &InstanceId, anchor: &Anchor) {
    if !Path::new("/run/systemd/journal/socket").exists() {
        return;
    }
    let (state, seq, hash) = (state.display().to_string(), anchor.seq.to_string(), anchor.hash.to_string());
    let fields = [
        ("message_id", ANCHOR_MESSAGE_ID),
        ("history_state", &state),
        ("history_host", host.as_str()),
        ("history_seq", &seq),
        ("history_hash", &hash),
    ];
    let send = || {
        let journal = JournalLog::empty()?.with_syslog_identifier("hostler".to_owned());
        journal.journal_send(
            &Record::builder()
                .level(log::Level::Info)
                .target(module_path!())
                .key_values(&fields)
                .args(format_args!("history of {state}: record {seq} has the hash {hash}"))
                .build(),
        )
    };
    if let Err(error) = send() {
        log::warn!(error:%; "the history's anchor was not sent to the journal: {error}");
    }
}

#[derive(Deserialize)]
struct Sent {
    #[serde(rename = "HISTORY_STATE")]
    state: String,
    #[serde(rename = "HISTORY_HOST", default)]
    host: String,
    #[serde(rename = "HISTORY_SEQ")]
    seq: String,
    #[serde(rename = "HISTORY_HASH")]
    hash: String,
}

/// The anchors of a state directory that the journal still has, of this host or of any: an image may hold the anchors
/// of another host, which has another chain. Only anchors from the directory's owner count: the journal itself records
/// the sender, so another user cannot forge one. None where there is no journal.
pub fn anchors(state: &Path, host: Option<&InstanceId>) -> Vec<Anchor> {
    let Ok(owner) = state.metadata().map(|metadata| metadata.uid()) else { return Vec::new() };
    let output = Command::new("journalctl")
        .args([
            "--quiet",
            "--no-pager",
            "--output=json",
            "--output-fields=HISTORY_STATE,HISTORY_HOST,HISTORY_SEQ,HISTORY_HASH",
        ])
        .arg(format!("MESSAGE_ID={ANCHOR_MESSAGE_ID}"))
        .arg(format!("_UID={owner}"))
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else { return Vec::new() };
    let state = state.display().to_string();
    let sent = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Sent>(line).ok());
    sent.filter(|sent| sent.state == state && host.is_none_or(|host| sent.host == host.as_str()))
        .filter_map(|sent| Some(Anchor { seq: sent.seq.parse().ok()?, hash: sent.hash.parse().ok()? }))
        .collect()
}
