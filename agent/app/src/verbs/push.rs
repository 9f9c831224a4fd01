//! `hostler push DIR STORE`: check, pack reproducibly, store under the SHA-256, print the revision.

use std::io::Write;
use std::os::fd::AsFd;

use anyhow::Context as _;
use hostler_core::bundle::BundleType;
use hostler_core::codes::ExitCode;
use hostler_core::store::{Content, PutOutcome, Store as _, revision_key};
use hostler_host::archive;

use crate::cli::{PackType, PushArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::{Setup, existing};
use crate::stores;
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
    super::block_on(async {
        let put = store.put_file(&key, packed_file.as_fd(), &content).await.map_err(stores::failure)?;
        if put == PutOutcome::PreconditionFailed {
            let size = store.size(&key).await.map_err(stores::failure)?;
            if size != Some(content.size) {
                let message = format!("{} exists and is not this bundle", store.location(&key));
                return Err(Failure::say(ExitCode::VerificationFailed, message).hint("delete it and push again"));
            }
        }
        if setup.json {
            let document = serde_json::json!({
                "version": 1,
                "revision": packed.digest,
                "size": packed.size,
                "type": bundle_type,
                "location": store.location(&key),
                "stored": matches!(put, PutOutcome::Stored(_)),
            });
            output::json(&document)?;
        } else {
            output::text(&format!("{}\n", packed.digest))?;
        }
        Ok(ExitCode::Ok)
    })
}
