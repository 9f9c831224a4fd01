//! The view of the host: the metadata service at each look, the group only while an action is in progress.

use hostler_core::config::settings::AutoScalingSettings;
use hostler_core::lifecycle::{LifecycleState, Look, Notice, TargetLifecycleState, needs_description};
use hostler_core::retry::Backoff;
use hostler_host::clock;
use tokio::time::Instant;

use super::cloud::Cloud;
use super::{BETWEEN_QUESTIONS, LifecycleController};

/// Between requests to a metadata service that does not answer.
pub(super) const AFTER_FAILURES: Backoff = Backoff { first_ms: 5000, most_ms: 120_000 };

impl<C: Cloud> LifecycleController<C> {
    pub(super) async fn look(&mut self, settings: &AutoScalingSettings) -> Look {
        let target = self.target().await;
        let notices = self.notices().await;
        let group = self.journal().action.and_then(|action| action.group);
        let (now_ms, rebalance) = (clock::now_ms(), settings.rebalance);
        let mut look = Look { now_ms, target, current: None, group, notices, rebalance };
        let journal = self.journal();
        let needed = needs_description(&journal, look.target.as_ref(), self.last.as_ref());
        // During a transition the host asks at each look. In an unclear state this could last forever, and on a whole
        // fleet.
        let on_its_way = look.target.as_ref().is_some_and(|target| !matches!(target, TargetLifecycleState::Unknown(_)));
        let rested = self.asked.is_none_or(|at| at.elapsed() >= BETWEEN_QUESTIONS);
        if needed && (journal.action.is_some() || on_its_way || rested) {
            self.describe(&mut look).await;
        } else if !needed {
            look.current = self.last.as_ref().map(|(_, current)| current.clone());
        }
        look
    }

    async fn target(&mut self) -> Option<TargetLifecycleState> {
        if !self.imds_retries.is_due() || !self.cloud.has_metadata() {
            return None;
        }
        match self.cloud.target_lifecycle_state().await {
            Ok(word) => {
                self.imds_retries.succeeded();
                if self.imds_problem.ends() {
                    log::info!("the instance metadata service says again what the group wants");
                }
                word.map(|word| TargetLifecycleState::read(&word))
            }
            Err(fault) => {
                // Switched off, or out of reach in a container: the agent slows down.
                self.imds_retries.failed();
                let text = format!("the instance metadata service does not say what the group wants: {fault}");
                if self.imds_problem.differs(&text) {
                    log::warn!("{text}");
                }
                None
            }
        }
    }

    async fn notices(&mut self) -> Option<Vec<Notice>> {
        // The previous request has reported a service that does not answer.
        if self.imds_retries.next().is_some() || !self.cloud.has_metadata() {
            return None;
        }
        self.announced.ask(&self.cloud).await
    }

    async fn describe(&mut self, look: &mut Look) {
        self.asked = Some(Instant::now());
        let current = match self.cloud.describe(self.instance.as_str()).await {
            Ok(Some(member)) => {
                look.group = Some(member.group);
                LifecycleState::read(&member.state)
            }
            Ok(None) => LifecycleState::NotMember,
            Err(fault) => {
                return self.tell_fault("the Auto Scaling group does not say where this instance is", &fault);
            }
        };
        if let LifecycleState::Unknown(word) = &current {
            let text = format!("the group says {word:?}, which this version does not know; nothing is done about it");
            self.tell(&text);
        } else {
            self.problem_log.ends();
        }
        self.last = Some((look.target.clone(), current.clone()));
        look.current = Some(current);
    }
}
