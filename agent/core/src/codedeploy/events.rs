//! Which revision's appspec and scripts a command runs (docs/protocols/codedeploy.md#which-revision-runs).

use crate::event_order::LifecycleEvent;

/// The revision that an event uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// The revision of this deployment.
    Current,
    /// The revision of the last Install that succeeded.
    LastSuccessful,
    /// The revision of the last DownloadBundle, regardless of its result.
    MostRecent,
}

/// The revision whose scripts an event runs. `rollback`: the service rolls a blue/green deployment back. Once this
/// deployment's bundle is unpacked, every event uses its revision.
pub fn chosen(event: LifecycleEvent, rollback: bool, unpacked: bool) -> Chosen {
    use LifecycleEvent::{
        AfterAllowTraffic, AfterBlockTraffic, ApplicationStop, BeforeAllowTraffic, BeforeBlockTraffic,
    };
    match event {
        _ if unpacked => Chosen::Current,
        BeforeBlockTraffic | AfterBlockTraffic if rollback => Chosen::MostRecent,
        BeforeBlockTraffic | AfterBlockTraffic | ApplicationStop => Chosen::LastSuccessful,
        BeforeAllowTraffic | AfterAllowTraffic if rollback => Chosen::LastSuccessful,
        _ => Chosen::Current,
    }
}

/// The event that a command's name means. BlockTraffic and AllowTraffic are the service's own work, not commands.
pub fn event_of(command_name: &str) -> Option<LifecycleEvent> {
    use LifecycleEvent::{AllowTraffic, BlockTraffic};
    let known = LifecycleEvent::ORDER.into_iter().filter(|e| !matches!(e, AllowTraffic | BlockTraffic));
    known.into_iter().find(|event| event.name() == command_name)
}

/// Whether a deployment is over on this host after this event, as far as a host can know: the service sends nothing at
/// the end. A later command of the same deployment resumes it.
pub fn ends_deployment(event: LifecycleEvent) -> bool {
    use LifecycleEvent::{AfterAllowTraffic, AfterBlockTraffic, ValidateService};
    matches!(event, AfterBlockTraffic | ValidateService | AfterAllowTraffic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_runs_the_scripts_of_the_revision_that_codedeploy_names() {
        use Chosen::{Current, LastSuccessful, MostRecent};
        let table = [
            ("BeforeBlockTraffic", LastSuccessful, MostRecent),
            ("AfterBlockTraffic", LastSuccessful, MostRecent),
            ("ApplicationStop", LastSuccessful, LastSuccessful),
            ("BeforeInstall", Current, Current),
            ("AfterInstall", Current, Current),
            ("ApplicationStart", Current, Current),
            ("ValidateService", Current, Current),
            ("BeforeAllowTraffic", Current, LastSuccessful),
            ("AfterAllowTraffic", Current, LastSuccessful),
        ];
        for (name, normally, in_rollback) in table {
            let event = event_of(name).unwrap();
            assert_eq!(chosen(event, false, false), normally, "{name}");
            assert_eq!(chosen(event, true, false), in_rollback, "{name}");
            assert_eq!(chosen(event, true, true), Current, "{name}");
        }
    }

    #[test]
    fn only_what_the_service_sends_is_a_command() {
        assert!(event_of("DownloadBundle").is_some() && event_of("Install").is_some());
        for name in ["BlockTraffic", "AllowTraffic", "install", "", "UpdateDeploymentAgent"] {
            assert_eq!(event_of(name), None, "{name}");
        }
    }
}
