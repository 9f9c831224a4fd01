//! `hostler push DIR STORE`: check, pack reproducibly, store under the SHA-256, print the revision.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use hostler_core::bundle::BundleType;
use hostler_core::codes::ExitCode;
use hostler_core::ids::Sha256Digest;
use hostler_core::label::{Label, Message, RevisionLabel, revision_name};
use hostler_core::store::{Content, PutOutcome, Store as _, revision_key};
use hostler_core::transfer::Meter;
use hostler_host::archive::{self, Packed};
use hostler_host::git;

use crate::cli::{NamingArgs, PackType, PushArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::labels;
use crate::output;
use crate::setup::{Setup, existing};
use crate::stores::{self, AnyStore};
use crate::terminal::shown;
use crate::verbs::{bundle_check, outside};

impl From<PackType> for BundleType {
    fn from(pack: PackType) -> Self {
        match pack {
            PackType::Tgz => Self::Tgz,
            PackType::Tar => Self::Tar,
            PackType::TarZst => Self::TarZst,
            PackType::Zip => Self::Zip,
        }
    }
}

pub fn run(shared: &Shared, arguments: &PushArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let directory = existing(&arguments.directory)?;
    if !directory.is_dir() {
        let message = format!("{} is not a directory", arguments.directory.display());
        return Err(
            Failure::say(ExitCode::Failed, message).hint("name the directory to pack, with the appspec at its top")
        );
    }
    outside::must_be_outside(&setup, &directory, &arguments.directory)?;
    bundle_check::directory(&setup, &directory, &arguments.directory.display().to_string())?;
    let sent = Arc::new(Meter::default());
    let store = setup.stores.open(&arguments.store)?.counted_by(&sent);
    let bundle_type = BundleType::from(arguments.bundle_type);
    let packed_file = tempfile::tempfile().context("cannot make a temporary file for the bundle")?;
    let asks_git = !arguments.naming.no_label && arguments.naming.label.is_none();
    let default = if asks_git { git::commit_label(&directory) } else { Ok(None) };
    super::block_on(async {
        let packed = pack(directory, packed_file.try_clone()?, bundle_type).await?;
        let content = Content { size: packed.size, sha256: packed.digest };
        let key = revision_key(&packed.digest);
        let put = store.put_file(&key, packed_file.as_fd(), &content);
        let put = shown("upload: ", &sent, put).await.map_err(stores::failure)?;
        if put == PutOutcome::PreconditionFailed {
            let size = store.size(&key).await.map_err(stores::failure)?;
            if size != Some(content.size) {
                let message = format!("{} exists and is not this bundle", store.location(&key));
                return Err(Failure::say(ExitCode::VerificationFailed, message).hint("delete it and push again"));
            }
        }
        let of_git = default.as_ref().ok().and_then(Option::as_ref);
        let named = name(&store, &packed.digest, &arguments.naming, of_git).await;
        // The bundle is in the store, so its digest is printed also where the label fails.
        let (named, unnamed) = named.map_or_else(|failure| (None, Some(failure)), |named| (named, None));
        let (label, message) = named.map(|named| (named.label, named.message)).unwrap_or_default();
        match (&label, &default) {
            (Some(label), _) if arguments.naming.no_label => output::notice(&stays_words(label)),
            (None, Err(why)) if unnamed.is_none() => output::notice(&format!("no label: {why}; --label names one")),
            _ => {}
        }
        if setup.json {
            let document = serde_json::json!({
                "version": 1,
                "revision": packed.digest,
                "label": label,
                "message": message,
                "size": packed.size,
                "type": bundle_type,
                "location": store.location(&key),
                "stored": matches!(put, PutOutcome::Stored(_)),
            });
            output::json(&document)?;
        } else {
            if let Some(said) = pushed_words(label.as_ref(), message.as_ref(), &packed.digest) {
                output::notice(&said);
            }
            output::text(&format!("{}\n", packed.digest))?;
        }
        match unnamed {
            Some(failure) => Err(failure.during("the bundle is stored, and what it is called is not")),
            None => Ok(ExitCode::Ok),
        }
    })
}

/// What was pushed, for people who gave it a name.
fn pushed_words(label: Option<&Label>, message: Option<&Message>, digest: &Sha256Digest) -> Option<String> {
    let name = revision_name(label, digest);
    match message {
        Some(message) => Some(format!("pushed {name}: {message}")),
        None => label.map(|_| format!("pushed {name}")),
    }
}

/// What `--no-label` does not do: others may know the bundle by the label that it has.
fn stays_words(label: &Label) -> String {
    format!(
        "the store keeps the label {label:?} of this bundle: --label replaces it, and `hostler release --no-label` leaves \
         it out"
    )
}

/// Stores what the bundle is called. Without the right to it, a label that the publisher did not ask for is left out.
async fn name(
    store: &AnyStore,
    revision: &Sha256Digest,
    naming: &NamingArgs,
    default: Option<&Label>,
) -> Result<Option<RevisionLabel>, Failure> {
    let given = RevisionLabel::new(naming.label.clone(), naming.message.clone());
    match labels::put(store, revision, &given, default).await {
        Err(failure) if naming.label.is_none() && naming.message.is_none() => {
            output::notice(&format!("warning: the bundle has no label: {}", failure.one_line()));
            Ok(None)
        }
        stored => stored,
    }
}

/// Packs on a thread of its own, and shows the bytes meanwhile.
async fn pack(directory: PathBuf, file: File, bundle_type: BundleType) -> Result<Packed, Failure> {
    let meter = Arc::new(Meter::default());
    let mut counted = Counted { file, meter: Arc::clone(&meter) };
    let packing = tokio::task::spawn_blocking(move || archive::pack(&directory, &mut counted, bundle_type));
    Ok(shown("pack: ", &meter, packing).await.context("the packing thread ended early")??)
}

/// A file that counts what is written to it.
struct Counted {
    file: File,
    meter: Arc<Meter>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.meter.add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_told_with_its_message() {
        let (digest, label, message) = (Sha256Digest::of(b""), "1.4.2".parse().unwrap(), "the sale".parse().unwrap());
        let of = |label, message| pushed_words(label, message, &digest);
        assert_eq!(of(Some(&label), Some(&message)).unwrap(), "pushed 1.4.2 (e3b0c442): the sale");
        assert_eq!(of(Some(&label), None).unwrap(), "pushed 1.4.2 (e3b0c442)");
        assert_eq!(of(None, Some(&message)).unwrap(), "pushed e3b0c442: the sale");
        assert_eq!(of(None, None), None);
    }
}
