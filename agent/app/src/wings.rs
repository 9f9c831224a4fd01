//! Which ports a deployment has, by what it is: the one place where the effects meet the wings.

use hostler_core::ids::GroupKey;
use hostler_core::machine::state::Source;

use crate::codedeploy::bundle::CommandedBundles;
use crate::codedeploy::place::AgentsPlace;
use crate::work::plain::{NoOtherAgent, PlainBundles};
use crate::work::ports::{BundleSource, Compatibility, Ports};

/// The ports of this program.
pub const ALL: &dyn Ports = &Wings;

#[derive(Debug)]
struct Wings;

impl Ports for Wings {
    fn bundles(&self, source: &Source) -> &dyn BundleSource {
        match source {
            Source::CodeDeploy { .. } => &CommandedBundles,
            Source::Store { .. } | Source::Location { .. } | Source::Path { .. } | Source::Kept { .. } => &PlainBundles,
        }
    }

    fn compatibility(&self, key: &GroupKey) -> &dyn Compatibility {
        match key.codedeploy_group_id {
            Some(_) => &AgentsPlace,
            None => &NoOtherAgent,
        }
    }
}
