//! The shipped IAM policies allow the program's calls, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Services whose actions the program names at the call, for its messages about denied access.
const SERVICES: [&str; 9] = [
    "autoscaling",
    "cloudformation",
    "codedeploy-commands-secure",
    "ec2",
    "elasticloadbalancing",
    "kms",
    "logs",
    "s3",
    "sqs",
];

/// Actions without a call of ours, and why they are needed.
const IMPLIED: [&str; 3] = [
    // S3 makes these calls to KMS as the caller.
    "kms:Decrypt",
    "kms:GenerateDataKey",
    // CreateLogGroup with tags.
    "logs:TagResource",
];

/// Words that only look like an action.
const NO_ACTIONS: [&str; 1] = ["s3:TestEvent"];

fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every action that the program names in a string.
fn asked_for() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&project().join("agent"), &mut files);
    let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let quoted = texts.iter().flat_map(|text| text.split('"'));
    let action = |word: &&str| {
        let parts = word.split_once(':');
        parts.is_some_and(|(service, name)| {
            let is_name = name.starts_with(|c: char| c.is_ascii_uppercase());
            SERVICES.contains(&service) && is_name && name.bytes().all(|b| b.is_ascii_alphanumeric())
        })
    };
    let named = quoted.filter(action).filter(|word| !NO_ACTIONS.contains(word));
    named.chain(IMPLIED).map(str::to_owned).collect()
}

fn policies() -> Vec<(String, Vec<Value>)> {
    let directory = project().join("packaging/iam");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let policies = files.filter(|path| path.extension().is_some_and(|e| e == "json")).map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let document: Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(document["Version"], "2012-10-17", "{name}");
        let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["Statement", "Version"], "{name}");
        (name, document["Statement"].as_array().unwrap().clone())
    });
    policies.collect()
}

/// One string or several, as IAM accepts them.
fn texts(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(one) => BTreeSet::from([one.clone()]),
        several => several.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
    }
}

#[test]
fn the_policies_allow_what_is_asked_for_and_nothing_else() {
    let statements = policies().into_iter().flat_map(|(_, statements)| statements);
    let allowed: BTreeSet<String> = statements.flat_map(|statement| texts(&statement["Action"])).collect();
    assert_eq!(allowed, asked_for());
    assert!(allowed.len() > 20, "{allowed:?}");
}

#[test]
fn a_statement_says_only_what_is_known() {
    for (policy, statements) in policies() {
        let mut names = BTreeSet::new();
        for statement in statements {
            for key in statement.as_object().unwrap().keys() {
                assert!(
                    ["Sid", "Effect", "Action", "Resource", "Condition"].contains(&key.as_str()),
                    "{policy}: {key}"
                );
            }
            assert_eq!(statement["Effect"], "Allow", "{policy}");
            let name = statement["Sid"].as_str().unwrap();
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "{policy}: IAM takes no {name}");
            assert!(names.insert(name.to_owned()), "{policy}: {name} twice");
        }
    }
}

#[test]
fn what_changes_something_is_bound_to_a_resource() {
    // They have no resources (the Service Authorization Reference).
    let unbound = |action: &str| action.contains(":Describe") || action.starts_with("codedeploy-commands-secure:");
    for (policy, statements) in policies() {
        for statement in statements {
            let actions = texts(&statement["Action"]);
            for resource in texts(&statement["Resource"]) {
                let bound = resource.starts_with("arn:aws:") && !resource.ends_with(":*:*");
                assert!(bound || actions.iter().all(|a| unbound(a)), "{policy}: {actions:?} on {resource}");
            }
        }
    }
}

#[test]
fn a_host_writes_nothing_but_its_own_documents() {
    let hosts = policies().into_iter().filter(|(policy, _)| policy == "s3-host.json" || policy == "kms-host.json");
    for (policy, statements) in hosts {
        for statement in statements {
            let writes = texts(&statement["Action"]).iter().any(|a| !a.contains(":Get") && !a.contains(":List"));
            for resource in texts(&statement["Resource"]).iter().filter(|_| writes && policy == "s3-host.json") {
                assert!(resource.contains("/${aws:userid}"), "{policy}: {resource}");
            }
            let only_decrypts = texts(&statement["Action"]) == BTreeSet::from(["kms:Decrypt".to_owned()]);
            assert!(policy != "kms-host.json" || only_decrypts, "{policy}");
        }
    }
}

/// The parts of a store that a policy allows to write or delete, and their text in the program's source.
const WRITTEN: [(&str, &str); 9] = [
    ("PREFIX/revisions/*", "revision_key("),
    ("PREFIX/labels/*", "label_key("),
    ("PREFIX/scratch/*", "format!(\"scratch/{name}\")"),
    ("PREFIX/APPLICATION/DEPLOYMENT-GROUP/release.json", "release_key("),
    ("PREFIX/APPLICATION/DEPLOYMENT-GROUP/proposed.json", "proposal_key("),
    ("PREFIX/APPLICATION/DEPLOYMENT-GROUP/releases/*", "past_release_key("),
    ("PREFIX/APPLICATION/DEPLOYMENT-GROUP/keys/*", "signing_policy_key("),
    ("PREFIX/APPLICATION/DEPLOYMENT-GROUP/hosts/${aws:userid}.json", "host_key("),
    ("PREFIX/APPLICATION/DEPLOYMENT-GROUP/unhealthy.json", "unhealthy_key("),
];

#[test]
fn what_may_be_written_is_written_by_the_program() {
    let mut files = Vec::new();
    sources(&project().join("agent"), &mut files);
    // A layout does not count as a use, and neither does a test.
    files.retain(|file| {
        !file.ends_with("store/layout.rs") && !file.iter().any(|part| part == "tests" || part == "tests.rs")
    });
    let used = |text: &str| files.iter().any(|file| fs::read_to_string(file).unwrap().contains(text));
    let mut granted = BTreeSet::new();
    for (policy, statements) in policies() {
        for statement in statements {
            let writes = |action: &String| action == "s3:PutObject" || action == "s3:DeleteObject";
            if !texts(&statement["Action"]).iter().any(writes) {
                continue;
            }
            for resource in texts(&statement["Resource"]) {
                let below =
                    resource.strip_prefix("arn:aws:s3:::BUCKET/").unwrap_or_else(|| panic!("{policy}: {resource}"));
                let (_, source) =
                    WRITTEN.iter().find(|(place, _)| *place == below).unwrap_or_else(|| panic!("{policy}: {resource}"));
                assert!(used(source), "{policy}: nothing in the program writes {resource}");
                granted.insert(below.to_owned());
            }
        }
    }
    assert_eq!(granted, WRITTEN.iter().map(|(place, _)| (*place).to_owned()).collect());
}

#[test]
fn a_key_signs_what_releases_are_signed_with_and_nothing_else() {
    let signs = |statement: &Value| texts(&statement["Action"]).contains("kms:Sign");
    let statements: Vec<Value> = policies().into_iter().flat_map(|(_, found)| found).filter(signs).collect();
    let [statement] = statements.as_slice() else { panic!("{statements:?}") };
    assert_eq!(texts(&statement["Action"]).len(), 1, "the condition fits nothing else: {statement}");
    let condition = &statement["Condition"]["StringEquals"];
    let source = fs::read_to_string(project().join("agent/aws/src/kms.rs")).unwrap();
    let asked: BTreeSet<&str> =
        source.split('"').filter(|text| text.ends_with("_SHA_256") || text.ends_with("_SHA_512")).collect();
    assert_eq!(texts(&condition["kms:SigningAlgorithm"]).iter().map(String::as_str).collect::<BTreeSet<_>>(), asked);
    assert!(
        asked.len() == 2 && condition["kms:MessageType"] == "RAW" && source.contains("message_type: \"RAW\""),
        "{condition}"
    );
}

#[test]
fn the_page_names_every_policy() {
    let page = fs::read_to_string(project().join("packaging/iam/README.md")).unwrap();
    for (policy, _) in policies() {
        assert_eq!(page.lines().filter(|line| line.starts_with('|') && line.contains(&policy)).count(), 1, "{policy}");
    }
}
