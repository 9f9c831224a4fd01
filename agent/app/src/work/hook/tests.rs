//! A script beside doubles of the ports: whether it may run, and what it sees.

use hostler_core::event_order::LifecycleEvent;
use hostler_core::hook::HookOutcome;
use hostler_core::machine::state::Script;

use super::{run_or_end, surrounded};
use crate::ports::Job;
use crate::work::test_support::{DoubleAgent, Doubles, Host, block_on};

const EVENT: LifecycleEvent = LifecycleEvent::AfterInstall;

/// A host after a deployment, and its job with one script more.
async fn deployed(agent: DoubleAgent) -> (Host, Job, Script) {
    let host = Host::new("version: 0.0\nos: linux\n", Doubles { agent, ..Doubles::default() });
    host.deploy("d-1").await;
    let script = serde_json::json!({ "archive": "d-1", "location": "script.sh", "timeout_seconds": 5 });
    let script: Script = serde_json::from_value(script).unwrap();
    let mut job = host.first_job();
    let step = job.deployment.steps.iter_mut().find(|step| step.event == EVENT).unwrap();
    step.scripts.push(script.clone());
    (host, job, script)
}

#[test]
fn a_script_that_another_agents_rules_refuse_is_not_started() {
    block_on(async {
        let agent = DoubleAgent { refuses: Some("check script"), ..DoubleAgent::default() };
        let (host, job, _) = deployed(agent).await;
        let result = run_or_end(&host.worker(), &host.setup, &job, EVENT, 0, 1).await;
        let refused =
            HookOutcome::CouldNotStart { message: "the double refuses check script".to_owned(), no_space: false };
        assert_eq!(result.outcome, refused);
        assert_eq!(host.ports.agent.told().last().unwrap(), "check script script.sh");
    });
}

#[test]
fn a_script_sees_where_its_bundle_came_from_and_what_another_agents_scripts_are_used_to() {
    block_on(async {
        let (host, job, script) = deployed(DoubleAgent::default()).await;
        let run = surrounded(&host.worker(), &host.setup, &job, EVENT, 0, &script).await;
        let value =
            |name: &str| run.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(value("OTHER_AGENT"), Some("here"));
        assert_eq!(value("BUNDLE_COMMIT"), Some("0123abc"));
        assert_eq!(value("LIFECYCLE_EVENT"), Some("AfterInstall"));
        assert_eq!(value("HOSTLER_ROOT"), host.setup.layout.root().to_str(), "it acts below a root prefix");
        assert_eq!(run.tail_lines, 7);
    });
}
