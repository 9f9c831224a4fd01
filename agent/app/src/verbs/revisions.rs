//! `hostler revisions STORE`: the bundles of a store, newest first.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hostler_core::codes::ExitCode;
use hostler_core::ids::{GroupKey, Sha256Digest};
use hostler_core::label::{Label, Message, RevisionLabel, revision_name};
use hostler_core::store::{Key, Listed, Store as _, label_key, labels_key, revisions_key};
use hostler_host::clock;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::store_groups::{self, Unknown};
use crate::cli::{ListArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::labels;
use crate::output;
use crate::publication::Current;
use crate::setup::Setup;
use crate::stores::{self, AnyStore};

/// The most bundles that are looked at.
const MOST: usize = 100_000;

pub fn run(shared: &Shared, arguments: &ListArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let store = setup.stores.open(&arguments.store)?;
    super::block_on(async {
        let groups = store_groups::released(&setup, &store, shared, Unknown::Empty).await?;
        let (revisions, older) = newest(&store, arguments.newest, &groups).await?;
        if setup.json {
            let revisions: Vec<Value> = revisions.iter().map(Shown::json).collect();
            let document = json!({ "version": 1, "store": store.name(), "revisions": revisions, "older": older });
            output::json(&document)?;
        } else {
            output::text(&text(&store.name(), &revisions, older))?;
        }
        Ok(ExitCode::Ok)
    })
}

/// A bundle of the store.
struct Shown {
    digest: Sha256Digest,
    size: u64,
    stored: Option<Timestamp>,
    named: Option<RevisionLabel>,
    /// The groups whose release is of it, with its sequence.
    released: Vec<(GroupKey, u64)>,
}

/// The newest bundles, and the number of older ones.
async fn newest(
    store: &AnyStore,
    count: usize,
    groups: &[(GroupKey, Current)],
) -> Result<(Vec<Shown>, usize), Failure> {
    let listed = store.list(&revisions_key(), "", MOST).await.map_err(stores::failure)?;
    let mut bundles: Vec<(Sha256Digest, Listed)> =
        listed.into_iter().filter_map(|object| Some((digest(&object.key)?, object))).collect();
    // The key decides between bundles of one second.
    bundles.sort_by(|(a, of_a), (b, of_b)| of_b.modified.cmp(&of_a.modified).then(a.cmp(b)));
    let older = bundles.len().saturating_sub(count);
    bundles.truncate(count);
    let labels = store.list(&labels_key(), "", MOST).await.map_err(stores::failure)?;
    let labels: BTreeSet<Key> = labels.into_iter().map(|object| object.key).collect();
    let mut shown = Vec::new();
    for (digest, Listed { size, modified, .. }) in bundles {
        let named = if labels.contains(&label_key(&digest)) { labels::find(store, &digest).await } else { None };
        let of = |current: &Current| current.document.release.revision.content.sha256 == digest;
        let released = groups.iter().filter(|(_, current)| of(current));
        let released = released.map(|(key, current)| (key.clone(), current.document.release.sequence)).collect();
        shown.push(Shown { digest, size, stored: modified, named, released });
    }
    Ok((shown, older))
}

fn digest(key: &Key) -> Option<Sha256Digest> {
    key.as_str().rsplit('/').next()?.parse().ok()
}

/// `store` is its name.
fn text(store: &str, revisions: &[Shown], older: usize) -> String {
    if revisions.is_empty() && older == 0 {
        return format!("{store} holds no bundle\n");
    }
    let mut text = String::new();
    let widest = |of: fn(&Shown) -> String| revisions.iter().map(|shown| of(shown).chars().count()).max().unwrap_or(0);
    let (width, of_groups) = (widest(Shown::name), widest(Shown::groups));
    for shown in revisions {
        let stored = shown.stored.map(|at| clock::local_time(u64::try_from(at.as_millisecond()).unwrap_or_default()));
        let (stored, size, name) = (stored.unwrap_or_default(), size_text(shown.size), shown.name());
        let (groups, message) = (shown.groups(), shown.message().map_or("", Message::as_str));
        let line = format!("{stored}  {size:>9}  {name:<width$}  {groups:<of_groups$}  {message}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if older > 0 {
        let _ = writeln!(text, "and {older} older; -n COUNT shows more");
    }
    text
}

/// Bytes for people: `350 B`, `1.2 MiB`.
fn size_text(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

impl Shown {
    fn label(&self) -> Option<&Label> {
        self.named.as_ref().and_then(|named| named.label.as_ref())
    }

    fn message(&self) -> Option<&Message> {
        self.named.as_ref().and_then(|named| named.message.as_ref())
    }

    fn groups(&self) -> String {
        let groups = self.released.iter().map(|(key, sequence)| format!("release {sequence} of {key}"));
        groups.collect::<Vec<_>>().join(", ")
    }

    fn name(&self) -> String {
        revision_name(self.label(), &self.digest)
    }

    fn json(&self) -> Value {
        let released = self
            .released
            .iter()
            .map(|(key, sequence)| json!({ "application": key.application, "group": key.group, "sequence": sequence }));
        json!({
            "revision": self.digest,
            "label": self.label(),
            "message": self.message(),
            "size": self.size,
            "stored": self.stored,
            "released": released.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_store_holds_no_bundle() {
        assert_eq!(text("s3://b", &[], 0), "s3://b holds no bundle\n");
        assert_eq!(text("s3://b", &[], 3), "and 3 older; -n COUNT shows more\n", "-n 0");
    }

    #[test]
    fn a_bundle_is_shown_with_its_label_its_groups_and_its_message() {
        let of = |label: Option<&str>, message: Option<&str>, released| Shown {
            digest: Sha256Digest::of(b""),
            size: 350,
            stored: None,
            named: Some(RevisionLabel::new(label.map(|l| l.parse().unwrap()), message.map(|m| m.parse().unwrap()))),
            released,
        };
        let group = GroupKey::new("web".parse().unwrap(), "production".parse().unwrap());
        let of_two = [of(Some("1.4"), None, vec![(group, 2)]), of(None, Some("the sale"), vec![])];
        let expected = "      350 B  1.4 (e3b0c442)  release 2 of web/production\n      350 B  e3b0c442                                     the sale\n";
        assert_eq!(text("s3://b", &of_two, 0), expected);
    }

    #[test]
    fn sizes_are_short() {
        let shown = [0, 350, 1023, 1024, 1_300_000, 20 << 20, 3 << 30, u64::MAX].map(size_text);
        let expected = ["0 B", "350 B", "1023 B", "1.0 KiB", "1.2 MiB", "20.0 MiB", "3.0 GiB", "17179869183.9 GiB"];
        assert_eq!(shown, expected);
    }
}
