//! Metrics that CloudWatch takes out of log events
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>):
//! one document in one line, nothing before or behind it.

use serde_json::{Map, Value, json};

use crate::health::{Colour, HealthReport};
use crate::ids::{GroupKey, InstanceId};
use crate::machine::state::{Deployment, Outcome};

/// Where CloudWatch puts them.
const NAMESPACE: &str = "hostler";

/// By what they can be told apart. The instance is a property of the event and no dimension: each would be a metric of its
/// own, and be paid for.
const DIMENSIONS: [&str; 2] = ["Application", "DeploymentGroup"];

/// A metric: name, unit, value.
type Metric = (&'static str, &'static str, u64);

/// The event of a deployment that ended; `None` of one that goes on.
pub fn deployment(deployment: &Deployment, instance: &InstanceId) -> Option<String> {
    let (at_ms, outcome) = (deployment.finished_ms?, deployment.outcome?);
    let succeeded = u64::from(outcome == Outcome::Succeeded);
    let scripts = deployment.steps.iter().flat_map(|step| &step.scripts);
    let failed = scripts.filter(|script| script.outcome.as_ref().is_some_and(|outcome| !outcome.is_success())).count();
    let metrics = [
        (
            "DeploymentDuration",
            "Milliseconds",
            deployment.lasted_ms.unwrap_or_else(|| at_ms.saturating_sub(deployment.started_ms)),
        ),
        ("DeploymentsSucceeded", "Count", succeeded),
        ("DeploymentsFailed", "Count", 1 - succeeded),
        ("HookFailures", "Count", u64::try_from(failed).unwrap_or(u64::MAX)),
    ];
    let properties = [
        ("DeploymentId", json!(deployment.id)),
        ("Revision", json!(deployment.request.revision.digest)),
        ("FailedEvent", json!(deployment.failure.as_ref().map(|failure| failure.event.name()))),
    ];
    Some(event(&deployment.request.key, instance, at_ms, &metrics, &properties))
}

/// The event of what a group's health checks say at the moment.
pub fn health(key: &GroupKey, instance: &InstanceId, report: &HealthReport, now_ms: u64) -> String {
    let metrics = [
        ("Healthy", "Count", u64::from(report.is_healthy())),
        ("Unhealthy", "Count", u64::from(report.colour == Colour::Red)),
    ];
    event(key, instance, now_ms, &metrics, &[("Colour", json!(report.colour)), ("Causes", json!(report.causes))])
}

fn event(
    key: &GroupKey,
    instance: &InstanceId,
    at_ms: u64,
    metrics: &[Metric],
    properties: &[(&str, Value)],
) -> String {
    let named = metrics.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit}));
    let directive = json!({
        "Namespace": NAMESPACE,
        "Dimensions": [DIMENSIONS],
        "Metrics": named.collect::<Vec<_>>(),
    });
    let mut members = Map::new();
    members.insert("_aws".to_owned(), json!({"Timestamp": at_ms, "CloudWatchMetrics": [directive]}));
    members.insert(DIMENSIONS[0].to_owned(), json!(key.application));
    members.insert(DIMENSIONS[1].to_owned(), json!(key.group));
    members.insert("InstanceId".to_owned(), json!(instance));
    members.extend(metrics.iter().map(|(name, _, value)| ((*name).to_owned(), json!(value))));
    members.extend(properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Value::Object(members).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::Host;

    /// What the specification asks of a document: every name that a directive refers to is a member at the top, dimensions
    /// are texts, metrics are numbers.
    fn read(event: &str) -> Value {
        assert!(!event.contains('\n'), "{event}");
        let document: Value = serde_json::from_str(event).unwrap();
        assert!(document["_aws"]["Timestamp"].is_u64(), "{document}");
        for directive in document["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            assert_eq!(directive["Namespace"], "hostler");
            for set in directive["Dimensions"].as_array().unwrap() {
                let names = set.as_array().unwrap();
                assert!(names.iter().all(|name| document[name.as_str().unwrap()].is_string()), "{document}");
            }
            let metrics = directive["Metrics"].as_array().unwrap();
            assert!(metrics.iter().all(|metric| document[metric["Name"].as_str().unwrap()].is_number()), "{document}");
        }
        document
    }

    #[test]
    fn a_deployment_that_ended_is_an_event_and_one_that_goes_on_is_none() {
        let mut host = Host::new();
        host.deploy("a", 1);
        let instance = "i-1".parse().unwrap();
        assert_eq!(deployment(host.state.all_active().next().unwrap().1, &instance), None);
        host.install(true);
        let ended = host.state.groups.values().next().unwrap().finished.last().unwrap().clone();
        let failed = read(&deployment(&ended, &instance).unwrap());
        assert_eq!((&failed["DeploymentsFailed"], &failed["DeploymentsSucceeded"]), (&json!(1), &json!(0)));
        assert_eq!((&failed["FailedEvent"], &failed["InstanceId"]), (&json!("Install"), &json!("i-1")));
        assert_eq!((&failed["Application"], &failed["DeploymentGroup"]), (&json!("web"), &json!("a")));
        let good = Deployment { outcome: Some(Outcome::Succeeded), lasted_ms: Some(70), ..ended };
        assert_eq!(read(&deployment(&good, &instance).unwrap())["DeploymentDuration"], 70);
    }

    #[test]
    fn health_is_one_or_nought() {
        let key = GroupKey::new("web".parse().unwrap(), "a".parse().unwrap());
        let of = |colour| {
            let report = HealthReport { colour, since_ms: 0, causes: vec!["503\nno".to_owned()], checks: vec![] };
            let document = read(&health(&key, &"i-1".parse().unwrap(), &report, 5));
            (document["Healthy"].as_u64().unwrap(), document["Unhealthy"].as_u64().unwrap())
        };
        assert_eq!(
            [Colour::Green, Colour::Yellow, Colour::Grey, Colour::Red].map(of),
            [(1, 0), (1, 0), (0, 0), (0, 1)]
        );
    }
}
