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
use hostler_core::label::{Label, RevisionLabel, revision_name};
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
use crate::verbs::bundle_check;

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
    bundle_check::directory(&setup, &directory, &arguments.directory.display().to_string())?;
    let sent = Arc::new(Meter::default());
    let store = setup.stores.open(&arguments.store)?.counted_by(&sent);
    let bundle_type = BundleType::from(arguments.bundle_type);
    let packed_file = tempfile::tempfile().context("cannot make a temporary file for the bundle")?;
    let default = if arguments.naming.no_label { None } else { git::commit_label(&directory) };
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
        let named = name(&store, &packed.digest, &arguments.naming, default.as_ref()).await;
        // The bundle is in the store, so its digest is printed also where the label fails.
        let (named, unnamed) = named.map_or_else(|failure| (None, Some(failure)), |named| (named, None));
        let (label, message) = named.map(|named| (named.label, named.message)).unwrap_or_default();
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
            if label.is_some() {
                output::notice(&format!("pushed {}", revision_name(label.as_ref(), &packed.digest)));
            }
            output::text(&format!("{}\n", packed.digest))?;
        }
        match unnamed {
            Some(failure) => Err(failure.during("the bundle is stored, and what it is called is not")),
            None => Ok(ExitCode::Ok),
        }
    })
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
