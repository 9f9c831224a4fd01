//! `hostler releases STORE`: what was released, newest first.

use std::fmt::Write as _;

use hostler_core::codes::ExitCode;
use hostler_core::ids::GroupKey;
use hostler_core::release::{Document, Release};
use hostler_core::store::PastRelease;
use hostler_core::text::counted;
use hostler_host::clock;
use serde_json::{Value, json};

use super::store_groups::{self, Unknown};
use crate::cli::{ListArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::past_releases;
use crate::publication::Current;
use crate::setup::Setup;
use crate::stores::AnyStore;

pub fn run(shared: &Shared, arguments: &ListArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let store = setup.stores.open(&arguments.store)?;
    super::block_on(async {
        let mut groups = Vec::new();
        for (key, current) in store_groups::released(&setup, &store, shared, Unknown::Refused).await? {
            groups.push(of_group(&setup, &store, key, current, arguments.newest).await?);
        }
        if setup.json {
            let groups: Vec<Value> = groups.iter().map(Shown::json).collect();
            output::json(&json!({ "version": 1, "store": store.name(), "groups": groups }))?;
        } else if groups.is_empty() {
            output::text(&format!("{} holds no release\n", store.name()))?;
        } else {
            let texts: Vec<String> = groups.iter().map(Shown::text).collect();
            output::text(&texts.join("\n"))?;
        }
        Ok(ExitCode::Ok)
    })
}

/// A group's releases.
struct Shown {
    group: GroupKey,
    /// The newest first; the first is the one in the channel.
    releases: Vec<Document>,
    /// Older ones that the store holds.
    more: usize,
    /// Those that cannot be read.
    unread: usize,
}

async fn of_group(
    setup: &Setup,
    store: &AnyStore,
    group: GroupKey,
    current: Current,
    newest: usize,
) -> Result<Shown, Failure> {
    let name = |document: &Document| document.release.past(&document.digest);
    let now = name(&current.document);
    let mut keys = past_releases::keys(store, &group).await?;
    // A publisher that ended in the middle has kept the release and not replaced it.
    keys.retain(|key| PastRelease::of_key(key).as_ref() != Some(&now));
    let more = keys.len().saturating_sub(newest.saturating_sub(1));
    keys.truncate(newest.saturating_sub(1));
    let (mut releases, asked) = (vec![current.document], keys.len());
    for key in keys {
        releases.extend(past_releases::read(setup, store, &group, &key).await?);
    }
    let unread = asked + 1 - releases.len();
    Ok(Shown { group, releases, more, unread })
}

impl Shown {
    /// The oldest release that the store holds, if releases before it are not there.
    fn begins_late(&self) -> Option<&Release> {
        let oldest = &self.releases.last()?.release;
        (self.more == 0 && self.unread == 0 && oldest.sequence > 1 && oldest.previous.is_some()).then_some(oldest)
    }

    /// The sequence of the oldest release of the same revision, if there is one before.
    fn first_of(&self, number: usize) -> Option<u64> {
        let content = |document: &Document| document.release.revision.content.sha256;
        let (this, older) = self.releases.get(number..)?.split_first()?;
        older.iter().rev().find(|other| content(other) == content(this)).map(|first| first.release.sequence)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.group);
        let width = self.releases.iter().map(|d| d.release.revision.name().chars().count()).max().unwrap_or_default();
        for (number, Document { release, .. }) in self.releases.iter().enumerate() {
            let word = if number == 0 { "current" } else { "" };
            let at = clock::local_time(u64::try_from(release.created.as_millisecond()).unwrap_or_default());
            let (sequence, name) = (release.sequence, release.revision.name());
            let message = release.message.as_ref().map_or("", |message| message.as_str());
            let again = self.first_of(number).map_or_else(String::new, |first| format!("as release {first}  "));
            let line = format!("  {word:<8} {sequence:>4}  {at}  {name:<width$}  {again}{message}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let current = self.releases.first().map(|current| &current.release);
        if let Some(before) = current.and_then(|current| current.before(&current.revision)) {
            let _ = writeln!(text, "  `release --previous` goes back to {}", before.name());
        }
        if self.more > 0 {
            let _ = writeln!(text, "  and {} older; -n COUNT shows more", self.more);
        }
        if self.unread > 0 {
            let _ = writeln!(text, "  and {} that cannot be read", counted(self.unread, "release"));
        }
        if let Some(oldest) = self.begins_late() {
            let before = oldest.previous.as_ref().map_or_else(String::new, |r| format!("; it replaced {}", r.name()));
            let _ = writeln!(text, "  the store keeps no release before {}{before}", oldest.sequence);
        }
        text
    }

    fn json(&self) -> Value {
        let releases: Vec<Value> = self.releases.iter().enumerate().map(|(at, d)| release_json(d, at == 0)).collect();
        json!({
            "application": self.group.application,
            "group": self.group.group,
            "releases": releases,
            "older": self.more,
            "complete": self.begins_late().is_none() && self.unread == 0,
        })
    }
}

fn release_json(document: &Document, is_current: bool) -> Value {
    let release = &document.release;
    json!({
        "sequence": release.sequence,
        "key_policy": release.key_policy,
        "current": is_current,
        "created": release.created,
        "expires": release.expires,
        "revision": release.revision.content.sha256,
        "label": release.revision.label,
        "message": release.message,
        "size": release.revision.content.size,
        "previous": release.previous.as_ref().map(|previous| previous.content.sha256),
        "signed": !document.envelope.signatures().is_empty(),
    })
}
