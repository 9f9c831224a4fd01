//! `hostler push DIR STORE`: check, pack reproducibly, store under the SHA-256, print the revision.

use std::io::Write;
use std::os::fd::AsFd;

use anyhow::Context as _;
use hostler_core::bundle::BundleType;
use hostler_core::codes::ExitCode;
use hostler_core::ids::Sha256Digest;
use hostler_core::label::{Label, RevisionLabel, revision_name};
use hostler_core::store::{Content, PutOutcome, Store as _, revision_key};
use hostler_host::{archive, git};

use crate::cli::{NamingArgs, PackType, PushArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::labels;
use crate::output;
use crate::setup::{Setup, existing};
use crate::stores::{self, AnyStore};
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
    let store = setup.stores.open(&arguments.store)?;
    let bundle_type = BundleType::from(arguments.bundle_type);
    let mut packed_file = tempfile::tempfile().context("cannot make a temporary file for the bundle")?;
    let packed = archive::pack(&directory, &packed_file, bundle_type)?;
    packed_file.flush()?;
    let content = Content { size: packed.size, sha256: packed.digest };
    let key = revision_key(&packed.digest);
    let default = if arguments.naming.no_label { None } else { git::commit_label(&directory) };
    super::block_on(async {
        let put = store.put_file(&key, packed_file.as_fd(), &content).await.map_err(stores::failure)?;
        if put == PutOutcome::PreconditionFailed {
            let size = store.size(&key).await.map_err(stores::failure)?;
            if size != Some(content.size) {
                let message = format!("{} exists and is not this bundle", store.location(&key));
                return Err(Failure::say(ExitCode::VerificationFailed, message).hint("delete it and push again"));
            }
        }
        let named = name(&store, &packed.digest, &arguments.naming, default.as_ref()).await?;
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
        Ok(ExitCode::Ok)
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
