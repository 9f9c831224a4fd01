//! `hostler push DIR STORE`: check, pack reproducibly, store under the SHA-256, print the revision.

use std::io::Write;
use std::os::fd::AsFd;

use anyhow::Context as _;
use hostler_core::appspec::diagnose;
use hostler_core::bundle::BundleType;
use hostler_core::codes::ExitCode;
use hostler_core::plan::wanted;
use hostler_core::store::{Content, PutOutcome, Store as _, revision_key};
use hostler_host::archive;

use crate::cli::{PackType, PushArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::{Setup, existing};
use crate::sources::store;
use crate::work::bundle::{problems_text, read_appspec};

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
    check(&setup, &directory)?;
    let store = store::open(&arguments.store)?;
    let bundle_type = BundleType::from(arguments.bundle_type);
    let mut packed_file = tempfile::tempfile().context("cannot make a temporary file for the bundle")?;
    let packed = archive::pack(&directory, &packed_file, bundle_type)?;
    packed_file.flush()?;
    let content = Content { size: packed.size, sha256: packed.digest };
    let key = revision_key(&packed.digest);
    super::block_on(async {
        let put = store.put_file(&key, packed_file.as_fd(), &content).await.map_err(store::failure)?;
        if put == PutOutcome::PreconditionFailed {
            let size = store.size(&key).await.map_err(store::failure)?;
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

/// Refuses what would be refused on every host; says what will surprise.
fn check(setup: &Setup, directory: &std::path::Path) -> Result<(), Failure> {
    let listing = archive::list(directory)?;
    let wrong = |message: String| Failure::say(ExitCode::Failed, message);
    let read = read_appspec(directory, &listing, None, &setup.limits).map_err(|f| wrong(f.message))?;
    let wanted = wanted(&read.spec, &listing, None).map_err(|problems| wrong(problems_text(&problems)))?;
    let mut warnings = diagnose::render(&read.diagnostics, &read.text);
    warnings.push_str(&problems_text(&wanted.warnings));
    // Standard output is the revision alone, so that a script can take it.
    let _ = std::io::stderr().lock().write_all(warnings.as_bytes());
    Ok(())
}
