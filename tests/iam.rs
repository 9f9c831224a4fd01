//! The IAM policies that are shipped allow what the program asks for, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The actions that a file of the cloud crate names.
fn asked_for(file: &str, service: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(project().join("agent/aws/src").join(file)).unwrap();
    let prefix = format!("{service}:");
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter(|word| word.starts_with(&prefix)).map(str::to_owned).collect()
}

fn statements(policy: &str) -> Vec<(BTreeSet<String>, String)> {
    let text = fs::read(project().join("packaging/iam").join(policy)).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(document["Version"], "2012-10-17");
    let actions = |statement: &serde_json::Value| match &statement["Action"] {
        serde_json::Value::String(one) => BTreeSet::from([one.clone()]),
        several => several.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect(),
    };
    let statements = document["Statement"].as_array().unwrap().iter();
    statements.map(|s| (actions(s), s["Resource"].as_str().unwrap().to_owned())).collect()
}

const POLICIES: [&str; 5] =
    ["auto-scaling.json", "signals.json", "standby.json", "target-groups.json", "status-checks.json"];

#[test]
fn the_policies_allow_what_is_asked_for_and_nothing_else() {
    for (file, service) in
        [("asg.rs", "autoscaling"), ("cfn.rs", "cloudformation"), ("elb.rs", "elasticloadbalancing"), ("ec2.rs", "ec2")]
    {
        let actions = POLICIES.into_iter().flat_map(statements).flat_map(|(actions, _)| actions);
        let allowed: BTreeSet<String> = actions.filter(|action| action.starts_with(&format!("{service}:"))).collect();
        assert_eq!(allowed, asked_for(file, service), "{service}");
    }
}

#[test]
fn what_changes_something_is_bound_to_one_group_or_stack() {
    for policy in POLICIES {
        for (actions, resource) in statements(policy) {
            let only_looks = actions.iter().all(|action| action.contains(":Describe"));
            assert!(only_looks || resource.starts_with("arn:aws:"), "{policy}: {actions:?} on {resource}");
        }
    }
}
