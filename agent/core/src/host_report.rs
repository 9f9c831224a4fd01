//! A host's report about itself in the store of each group that it follows
//! (docs/protocols/rollout.md#objects-of-a-store). It is derived from the state, so it says nothing that the ledger
//! does not hold.

use serde::{Deserialize, Serialize};

mod others;

use crate::health::{Colour, HealthReport};
use crate::ids::{DeploymentId, GroupKey, InstanceId, Sha256Digest};
use crate::label::Label;
use crate::lifecycle::InstanceState;
use crate::machine::state::{Group, State};
use crate::retry::jittered_ms;
use crate::status::{Condition, condition};

/// The current version of [`HostReport`].
pub const HOST_REPORT_VERSION: u32 = 1;

/// Most bytes of a document that is read. Prevents: an arbitrary object in memory.
pub const HOST_REPORT_BYTES: usize = 16 << 10;

/// Milliseconds after which the host writes an unchanged document again. Readers take a host with a far older document
/// for gone.
const AGAIN_MS: u64 = 86_400_000;

/// Milliseconds without a new document after which a host counts as gone.
const GONE_MS: u64 = 2 * AGAIN_MS;

/// Characters of a cause.
const CAUSE_CHARACTERS: usize = 200;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Version of this document.
    pub version: u32,
    /// Grows with each write, so that no two documents have the same bytes.
    pub counter: u64,
    /// When it was written, milliseconds since 1970, by the host's clock.
    pub written_ms: u64,
    /// The report.
    #[serde(flatten)]
    pub content: ReportContent,
}

/// The host's identity, which the state does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reporter {
    /// `aws:userid` of the instance role; the instance id off EC2 and in a directory store.
    pub user: String,
    /// The host.
    pub instance: InstanceId,
    /// Its availability zone, where it is known.
    pub zone: Option<String>,
    /// The address from which it reaches others.
    pub address: String,
    /// The agent's version.
    pub agent_version: String,
}

/// A host's report about one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportContent {
    /// See [`Reporter::user`]; the document's name.
    pub user: String,
    /// The host.
    pub instance: InstanceId,
    /// Its availability zone, where it is known.
    pub zone: Option<String>,
    /// The address from which it reaches others.
    pub address: String,
    /// The agent's version.
    pub agent_version: String,
    /// The group.
    #[serde(flatten)]
    pub key: GroupKey,
    /// What the Auto Scaling group and EC2 allow this host.
    #[serde(alias = "posture")]
    pub instance_state: InstanceState,
    /// The group on this host in one word.
    pub condition: Condition,
    /// Whether accepted releases of the channel are held by hand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Since when, milliseconds since 1970; `None` where nothing was ever deployed.
    pub since_ms: Option<u64>,
    /// SHA-256 of the bundle whose files are on the host.
    pub revision: Option<Sha256Digest>,
    /// What its publisher calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// Sequence of the release that asked for it.
    pub sequence: Option<u64>,
    /// The deployment that put it there.
    pub deployment: Option<DeploymentId>,
    /// The result of the health checks; `None` without checks, and while they do not run.
    pub health: Option<Colour>,
    /// Since when, milliseconds since 1970.
    pub health_since_ms: Option<u64>,
    /// The first of the causes, when the document was written.
    pub cause: Option<String>,
}

impl ReportContent {
    /// The report about a group, which may have no deployment yet.
    pub fn of(state: &State, key: &GroupKey, health: Option<&HealthReport>, who: Reporter) -> Self {
        let group = state.groups.get(&key.id());
        let installed = group.and_then(|group| group.installed.as_ref());
        Self {
            user: who.user,
            instance: who.instance,
            zone: who.zone,
            address: who.address,
            agent_version: who.agent_version,
            key: key.clone(),
            instance_state: state.lifecycle.instance_state,
            condition: group.map_or(Condition::Empty, condition),
            held: group.is_some_and(|group| group.following.hold().is_some()),
            since_ms: group.and_then(since_ms),
            revision: installed.and_then(|installed| installed.revision.digest),
            label: installed.and_then(|installed| installed.revision.label.clone()),
            sequence: installed.and_then(|installed| installed.sequence),
            deployment: installed.map(|installed| installed.deployment.clone()),
            health: health.map(|report| report.colour),
            health_since_ms: health.map(|report| report.since_ms),
            cause: health.and_then(|report| Some(report.causes.first()?.chars().take(CAUSE_CHARACTERS).collect())),
        }
    }

    /// Whether the report differs in a way that readers must know. The words of a cause may change with every probe.
    pub fn differs_from(&self, before: &Self) -> bool {
        let without_words = |content: &Self| Self { cause: None, health_since_ms: None, ..content.clone() };
        without_words(self) != without_words(before)
    }
}

impl HostReport {
    /// The document that follows one with this counter.
    pub fn after(counter: u64, content: ReportContent, written_ms: u64) -> Self {
        Self { version: HOST_REPORT_VERSION, counter: counter.saturating_add(1), written_ms, content }
    }

    /// When the document is due, milliseconds since 1970: at once when it has news, otherwise in a day or so. `random`
    /// varies the time between hosts.
    pub fn due_ms(&self, content: &ReportContent, random: u64) -> u64 {
        if content.differs_from(&self.content) {
            0
        } else {
            self.written_ms.saturating_add(jittered_ms(AGAIN_MS, random))
        }
    }

    /// Whether its host counts as a member that serves or is about to: it writes, and nothing takes it out of service.
    pub fn is_member(&self, now_ms: u64) -> bool {
        self.content.instance_state == InstanceState::InService && now_ms.saturating_sub(self.written_ms) < GONE_MS
    }
}

fn since_ms(group: &Group) -> Option<u64> {
    let ended = || group.finished.last().and_then(|deployment| deployment.finished_ms);
    group.active.as_ref().map(|deployment| deployment.started_ms).or_else(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::Host;

    fn key() -> GroupKey {
        GroupKey::new("web".parse().unwrap(), "a".parse().unwrap())
    }

    fn who() -> Reporter {
        Reporter {
            user: "AROAX:i-1".to_owned(),
            instance: "i-1".parse().unwrap(),
            zone: Some("eu-central-1a".to_owned()),
            address: "10.0.0.1".to_owned(),
            agent_version: "1".to_owned(),
        }
    }

    fn red(cause: &str) -> HealthReport {
        HealthReport { colour: Colour::Red, since_ms: 5, causes: vec![cause.to_owned()], checks: Vec::new() }
    }

    #[test]
    fn it_says_what_the_state_holds() {
        let mut host = Host::new();
        let nothing = ReportContent::of(&host.state, &key(), None, who());
        assert_eq!((nothing.condition, nothing.since_ms, nothing.revision), (Condition::Empty, None, None));
        host.deploy("a", 1);
        let deploying = ReportContent::of(&host.state, &key(), None, who());
        assert!(deploying.condition == Condition::Deploying && deploying.differs_from(&nothing), "{deploying:?}");
        host.install(false);
        let good = ReportContent::of(&host.state, &key(), Some(&red("503")), who());
        assert_eq!(
            (good.condition, good.health, good.cause.as_deref()),
            (Condition::Good, Some(Colour::Red), Some("503"))
        );
        assert_eq!(good.deployment.as_ref().unwrap().as_str(), "d-a1");
        assert!(good.revision.is_some() && good.since_ms > deploying.since_ms, "{good:?}");
        assert_eq!(good.label, None);
        let group = host.state.groups.get_mut(&key().id()).unwrap();
        group.installed.as_mut().unwrap().revision.label = Some("1.4.2".parse().unwrap());
        let labelled = ReportContent::of(&host.state, &key(), Some(&red("503")), who());
        assert_eq!(labelled.label.as_ref().map(Label::as_str), Some("1.4.2"));
        assert!(labelled.differs_from(&good));
    }

    #[test]
    fn it_is_written_on_change_and_daily_and_never_twice_alike() {
        let host = Host::new();
        let content = ReportContent::of(&host.state, &key(), Some(&red("503")), who());
        let first = HostReport::after(0, content.clone(), 1000);
        let other_words = ReportContent { cause: Some("504".to_owned()), ..content.clone() };
        for random in [0, u64::MAX / 2, u64::MAX] {
            let due = first.due_ms(&other_words, random);
            assert!((AGAIN_MS / 10 * 9..=AGAIN_MS / 10 * 11 + 1000).contains(&due), "{due}");
        }
        assert_eq!(first.due_ms(&ReportContent { health: Some(Colour::Green), ..content.clone() }, 7), 0);
        let second = HostReport::after(first.counter, content, 1000);
        assert_ne!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&second).unwrap());
        let read: HostReport = serde_json::from_str(&serde_json::to_string(&second).unwrap()).unwrap();
        assert_eq!(read, second);
    }

    #[test]
    fn a_host_that_is_silent_or_out_of_service_is_no_member() {
        let host = Host::new();
        let content = ReportContent::of(&host.state, &key(), None, who());
        let report = HostReport::after(0, content.clone(), 1000);
        assert!(report.is_member(1000 + AGAIN_MS / 10 * 11) && !report.is_member(1000 + GONE_MS));
        assert!(
            !HostReport::after(0, ReportContent { instance_state: InstanceState::Terminating, ..content }, 1000)
                .is_member(1000)
        );
    }
}
