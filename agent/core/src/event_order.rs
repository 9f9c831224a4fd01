//! The lifecycle events, their order in channel and CLI mode, and whose scripts run in them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A lifecycle event of a deployment, as CodeDeploy names them (docs/protocols/codedeploy.md#which-revision-runs,
/// docs/protocols/codedeploy.md#order-of-events).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LifecycleEvent {
    /// The bundle is fetched, verified, unpacked and checked. No scripts.
    DownloadBundle,
    /// Before the host is taken out of service.
    BeforeBlockTraffic,
    /// The host is taken out of service. No scripts.
    BlockTraffic,
    /// After the host was taken out of service.
    AfterBlockTraffic,
    /// The old revision's application is stopped.
    ApplicationStop,
    /// Before the files are put in place.
    BeforeInstall,
    /// The files are put in place. No scripts.
    Install,
    /// After the files are in place.
    AfterInstall,
    /// The application is started.
    ApplicationStart,
    /// The application is checked.
    ValidateService,
    /// Before the host is put back into service.
    BeforeAllowTraffic,
    /// The host is put back into service. No scripts.
    AllowTraffic,
    /// After the host was put back into service.
    AfterAllowTraffic,
    /// A custom event; only `codedeploy-local` runs these.
    Custom(EventName),
}

use LifecycleEvent::{
    AfterAllowTraffic, AfterBlockTraffic, AfterInstall, AllowTraffic, ApplicationStart, ApplicationStop,
    BeforeAllowTraffic, BeforeBlockTraffic, BeforeInstall, BlockTraffic, Custom, DownloadBundle, Install,
    ValidateService,
};

impl LifecycleEvent {
    /// All events in the order of channel and CLI mode (docs/development/design.md#order-of-events): everything is
    /// fetched and checked while the old revision still serves.
    pub const ORDER: [Self; 13] = [
        DownloadBundle,
        BeforeBlockTraffic,
        BlockTraffic,
        AfterBlockTraffic,
        ApplicationStop,
        BeforeInstall,
        Install,
        AfterInstall,
        ApplicationStart,
        ValidateService,
        BeforeAllowTraffic,
        AllowTraffic,
        AfterAllowTraffic,
    ];

    /// The name as the appspec, the environment and the logs write it.
    pub fn name(&self) -> &str {
        match self {
            DownloadBundle => "DownloadBundle",
            BeforeBlockTraffic => "BeforeBlockTraffic",
            BlockTraffic => "BlockTraffic",
            AfterBlockTraffic => "AfterBlockTraffic",
            ApplicationStop => "ApplicationStop",
            BeforeInstall => "BeforeInstall",
            Install => "Install",
            AfterInstall => "AfterInstall",
            ApplicationStart => "ApplicationStart",
            ValidateService => "ValidateService",
            BeforeAllowTraffic => "BeforeAllowTraffic",
            AllowTraffic => "AllowTraffic",
            AfterAllowTraffic => "AfterAllowTraffic",
            Custom(name) => name.as_str(),
        }
    }

    /// Whether the scripts come from the installed revision rather than the new one.
    pub fn runs_old_revision(self) -> bool {
        matches!(self, BeforeBlockTraffic | AfterBlockTraffic | ApplicationStop)
    }

    /// Whether an appspec can bind scripts to it.
    pub fn has_scripts(self) -> bool {
        !matches!(self, DownloadBundle | BlockTraffic | Install | AllowTraffic)
    }

    /// Whether `ignore_application_stop_failures` covers it
    /// (<https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_CreateDeployment.html>).
    pub fn failure_may_be_ignored(self) -> bool {
        self.runs_old_revision()
    }
}

impl std::fmt::Display for LifecycleEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LifecycleEvent {
    type Err = InvalidEventName;

    fn from_str(text: &str) -> Result<Self, InvalidEventName> {
        match Self::ORDER.into_iter().find(|event| event.name() == text) {
            Some(event) => Ok(event),
            None => Ok(Custom(text.parse()?)),
        }
    }
}

impl TryFrom<String> for LifecycleEvent {
    type Error = InvalidEventName;

    fn try_from(text: String) -> Result<Self, InvalidEventName> {
        text.parse()
    }
}

impl From<LifecycleEvent> for String {
    fn from(event: LifecycleEvent) -> Self {
        event.to_string()
    }
}

/// The name of a custom event: 1 to 64 letters, digits, dashes and underscores, because it becomes part of a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName {
    bytes: [u8; EventName::MOST_BYTES],
    length: u8,
}

/// A name that no event can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be the name of a lifecycle event: it must be 1 to 64 letters, digits, dashes and underscores")]
pub struct InvalidEventName(String);

impl EventName {
    const MOST_BYTES: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..usize::from(self.length)).and_then(|name| str::from_utf8(name).ok()).unwrap_or_default()
    }
}

impl FromStr for EventName {
    type Err = InvalidEventName;

    fn from_str(text: &str) -> Result<Self, InvalidEventName> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) && !text.is_empty();
        let mut bytes = [0; Self::MOST_BYTES];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(length)) if plain => {
                room.copy_from_slice(text.as_bytes());
                Ok(Self { bytes, length })
            }
            _ => Err(InvalidEventName(text.to_owned())),
        }
    }
}

impl std::fmt::Debug for EventName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_read_by_its_name_and_others_are_the_users_own() {
        for event in LifecycleEvent::ORDER {
            assert_eq!(event.name().parse(), Ok(event));
        }
        let own: LifecycleEvent = "Warm-Up_2".parse().unwrap();
        assert_eq!((own.name(), own.has_scripts(), own.runs_old_revision()), ("Warm-Up_2", true, false));
        let written = serde_json::to_string(&[own, Install]).unwrap();
        assert_eq!(written, r#"["Warm-Up_2","Install"]"#);
        assert_eq!(serde_json::from_str::<Vec<LifecycleEvent>>(&written).unwrap(), [own, Install]);
        let longest = "x".repeat(64);
        assert_eq!(longest.parse::<LifecycleEvent>().unwrap().name(), longest);
    }

    #[test]
    fn a_name_that_could_lead_out_of_a_directory_or_is_too_long_is_none() {
        for name in ["", ".", "..", "a/b", "a b", "ä", "a\0", &"x".repeat(65), &"x".repeat(300)] {
            assert!(name.parse::<LifecycleEvent>().is_err(), "{name:?}");
        }
    }
}
