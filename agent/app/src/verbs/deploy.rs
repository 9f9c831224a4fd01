//! `hostler deploy WHAT`: deploy a directory, a bundle file, or a bundle at a location now.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use hostler_core::ids::GroupKey;
use hostler_core::machine::Event;
use hostler_core::machine::state::Source;
use hostler_core::release::stored_bytes;
use hostler_core::store::Location;
use hostler_host::{git, regular, users};

use crate::cli::{DeployArgs, Shared};
use crate::control::ControlRequest;
use crate::failure::{Failure, Outcome};
use crate::requests::DeployRequest;
use crate::requests::deploy_request;
use crate::setup::{Setup, existing};
use crate::stores;

pub fn run(shared: &Shared, arguments: DeployArgs) -> Outcome {
    let setup = Arc::new(Setup::for_asking(shared)?);
    let what = super::given::place(arguments.what)?;
    let source = source(&what)?;
    if let Source::Path { path } = &source {
        super::outside::must_be_outside(&setup, path, &what)?;
    }
    let label = match &source {
        // Without a label, the directory's name is shown as well.
        Source::Path { path } if path.is_dir() => git::commit_label(path).unwrap_or_default(),
        _ => None,
    };
    let wish = DeployRequest {
        key: group(&setup, shared)?,
        source,
        label,
        file_exists_behavior: arguments.file_exists_behavior.map(Into::into),
        appspec_name: arguments.appspec_filename,
        ignore_application_stop_failures: arguments.ignore_application_stop_failures,
        no_cleanup: arguments.no_cleanup,
        no_rollback: arguments.no_rollback,
        release: arguments.release.as_deref().map(|path| document(&setup, path)).transpose()?,
    };
    super::block_on(async {
        let policy = wish.policy(setup.settings.policy(&wish.key));
        let request = deploy_request(&setup, wish.clone(), policy, users::describe(users::own_uid()))?;
        super::deploy_by(&setup, ControlRequest::Deploy(wish), |id| Event::Deploy { id, request: Box::new(request) })
            .await
    })
}

/// Reads the release document's text; the daemon judges it.
fn document(setup: &Setup, path: &Path) -> Result<String, Failure> {
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        regular::open_argument(path)?.take(stored_bytes(&setup.limits) as u64 + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    Ok(read().with_context(|| format!("cannot read {}", path.display()))?)
}

/// The source: a location or a path.
fn source(what: &Path) -> Result<Source, Failure> {
    match stores::location(what)? {
        Some(Location::File(path)) => Ok(Source::Path { path: existing(&path)? }),
        Some(place) => Ok(stores::source(place)),
        None => Ok(Source::Path { path: existing(what)? }),
    }
}

/// If no group is named, bundles deployed by hand belong to a group of their own.
fn group(setup: &Setup, shared: &Shared) -> Result<GroupKey, Failure> {
    let none_is_configured = setup.settings.groups.is_empty() && setup.unread.is_none();
    if shared.application.is_none() && shared.group.is_none() && none_is_configured {
        return Ok(GroupKey::new("local".parse()?, "local".parse()?));
    }
    setup.group(shared)
}
