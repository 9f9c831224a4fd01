//! The ports of deployments by channels and by hand: bundles come from stores, addresses and paths, and no other agent
//! has anything beside them.

use std::path::Path;

use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::state::{Revision, Source};
use hostler_host::archive::Unpacked;
use hostler_host::layout::DeploymentPaths;

use crate::ports::Job;
use crate::setup::Setup;
use crate::work::download;
use crate::work::fetch::{FetchedBundle, fetch};
use crate::work::ports::{BundleSource, Compatibility, Pending};
use crate::work::prepare::unpacked;

/// Bundles of stores, addresses and paths.
#[derive(Debug)]
pub struct PlainBundles;

impl BundleSource for PlainBundles {
    fn fetch<'a>(
        &'a self,
        setup: &'a Setup,
        job: &'a Job,
        paths: &'a DeploymentPaths,
    ) -> Pending<'a, Result<FetchedBundle, WorkFailure>> {
        Box::pin(fetch(setup, job, paths))
    }

    fn unpack(
        &self,
        setup: &Setup,
        job: &Job,
        fetched: FetchedBundle,
        into: &Path,
    ) -> Result<(Revision, Unpacked), WorkFailure> {
        unpacked(setup, job, fetched, into)
    }

    fn is_remote(&self, source: &Source) -> bool {
        download::is_remote(source)
    }
}

/// No other agent.
#[derive(Debug)]
pub struct NoOtherAgent;

impl Compatibility for NoOtherAgent {}
