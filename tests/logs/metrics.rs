//! Metrics in the embedded metric format.

use serde_json::Value;

use super::Agent;
use crate::support::eventually;
use crate::support::host::{Bundle, PATIENCE};
use crate::support::logs_service::LogsService;

#[test]
fn a_deployment_and_its_hooks_are_points_of_metrics() {
    let service = LogsService::start();
    let agent = Agent::new(&service, "  agent: false\n  deployments: false\n  metrics: true\n");
    let daemon = agent.start();
    for (version, body) in [("v1", ""), ("v2", "exit 1")] {
        let bundle = Bundle::new(&agent.host, version).app().hook("AfterInstall", body).write();
        agent.host.release(&bundle, &[]);
        let wanted = if body.is_empty() { "good" } else { "rolled_back" };
        agent.host.status_when(version, |status| status["condition"] == wanted);
    }
    let points = eventually("three deployments", PATIENCE, || {
        let messages = service.messages("i-1");
        let points: Result<Vec<Value>, _> = messages.iter().map(|message| serde_json::from_str(message)).collect();
        let points = points.map_err(|error| format!("{error}: {messages:?}"))?;
        if points.len() == 3 { Ok(points) } else { Err(format!("{points:?}\n{}", daemon.said())) }
    });
    let figures = |name: &str| points.iter().map(|point| point[name].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(figures("DeploymentsSucceeded"), [1, 0, 1]);
    assert_eq!((figures("DeploymentsFailed"), figures("HookFailures")), (vec![0, 1, 0], vec![0, 1, 0]));
    assert_eq!((&points[1]["FailedEvent"], &points[1]["Application"]), (&"AfterInstall".into(), &"shop".into()));
    assert!(points[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"].is_array(), "{points:?}");
    assert_eq!(service.batches()[0].group, "/hostler/metrics");
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    service.assert_nothing_wrong();
}
