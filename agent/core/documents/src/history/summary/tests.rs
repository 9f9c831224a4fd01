use super::*;
use crate::history::{Chain, Context};

fn id(text: &str) -> DeploymentId {
    text.parse().unwrap()
}

fn group(name: &str) -> GroupKey {
    GroupKey::new("shop".parse().unwrap(), name.parse().unwrap())
}

fn by(by: RequesterKind, name: &str) -> Requester {
    Requester { by, name: Some(name.to_owned()) }
}

fn started(deployment: &str, of: &str, purpose: Option<DeploymentPurpose>, requested: Requester) -> Kind {
    Kind::DeploymentStarted {
        deployment: id(deployment),
        group: group(of),
        purpose,
        revision: None,
        label: None,
        location: "/srv/bundle".to_owned(),
        sequence: None,
        release_digest: None,
        signature: crate::release::Trust::Unsigned,
        requested,
    }
}

fn event(deployment: &str, event: &str, outcome: EventOutcome) -> Kind {
    Kind::EventFinished { deployment: id(deployment), event: event.to_owned(), outcome, message: None }
}

fn finished(deployment: &str, outcome: DeploymentOutcome) -> Kind {
    Kind::DeploymentFinished { deployment: id(deployment), outcome, message: None }
}

/// The records with times of 0, 100, 200 … milliseconds.
fn entries(kinds: Vec<Kind>) -> Vec<Entry> {
    let mut chain = Chain::default();
    let records = kinds.into_iter().enumerate().map(|(number, kind)| {
        let context = Context {
            host: "i-1".parse().unwrap(),
            boot_id: "b".to_owned(),
            time_ms: number as u64 * 100,
            agent_version: "0.1.0".to_owned(),
        };
        Entry::parse(chain.append(&context, kind).unwrap().line.as_bytes()).unwrap()
    });
    records.collect()
}

fn selected(wanted: Wanted, entries: &[Entry]) -> Selection {
    let mut selection = Selection::new(wanted);
    entries.iter().for_each(|entry| selection.add(entry));
    selection
}

fn a_history() -> Vec<Entry> {
    let failed = by(RequesterKind::Rollback, "failure of d-2");
    entries(vec![
        Kind::Sealed { former: None, former_seq: None, former_hash: None },
        started("d-1", "web", Some(DeploymentPurpose::Release), by(RequesterKind::Channel, "release 1")),
        event("d-1", "Install", EventOutcome::Succeeded),
        finished("d-1", DeploymentOutcome::Succeeded),
        started("d-2", "web", None, by(RequesterKind::Cli, "user root")),
        started("d-9", "jobs", None, by(RequesterKind::Cli, "user root")),
        event("d-2", "ValidateService", EventOutcome::Failed),
        finished("d-2", DeploymentOutcome::Failed),
        Kind::Rollback {
            failed: Some(id("d-2")),
            group: group("web"),
            to: id("d-1"),
            revision: None,
            requested: failed.clone(),
        },
        started("d-3", "web", None, failed),
        finished("d-3", DeploymentOutcome::Succeeded),
        finished("d-9", DeploymentOutcome::Succeeded),
        Kind::Removed { group: group("jobs"), requested: by(RequesterKind::Cli, "user root") },
        started("d-4", "web", Some(DeploymentPurpose::RollbackByHand), by(RequesterKind::Rollback, "user root")),
    ])
}

#[test]
fn a_deployment_is_one_line_with_its_kind_outcome_and_duration() {
    let found = selected(Wanted::default(), &a_history());
    let told: Vec<_> = found
        .deployments()
        .map(|one| {
            let took = one.finished_ms.map(|at| at - one.started_ms);
            (one.deployment.as_str(), one.purpose.noun(), one.outcome, one.failed_in.as_deref(), took)
        })
        .collect();
    let (succeeded, failed) = (Some(DeploymentOutcome::Succeeded), Some(DeploymentOutcome::Failed));
    assert_eq!(
        told,
        [
            ("d-1", "deployment", succeeded, None, Some(200)),
            ("d-2", "deployment", failed, Some("ValidateService"), Some(300)),
            ("d-9", "removal", succeeded, None, Some(600)),
            ("d-3", "rollback", succeeded, None, Some(100)),
            ("d-4", "rollback", None, None, None),
        ]
    );
}

#[test]
fn records_of_older_agents_say_what_they_are_by_their_caller() {
    use DeploymentPurpose::{ByHand, Commanded, Release, Rollback, Stop};
    for (kind, expected) in [
        (RequesterKind::Service, Commanded),
        (RequesterKind::Channel, Release),
        (RequesterKind::Cli, ByHand),
        (RequesterKind::Lifecycle, Stop),
        (RequesterKind::Rollback, Rollback),
    ] {
        let found = selected(Wanted::default(), &entries(vec![started("d-1", "web", None, by(kind, "x"))]));
        assert_eq!(found.deployments().map(|one| one.purpose).collect::<Vec<_>>(), [expected]);
    }
}

/// The ids of the chosen deployments, and the numbers of the records that belong to them.
fn chosen(wanted: Wanted) -> (Vec<String>, Vec<u64>) {
    let all = a_history();
    let selection = selected(wanted, &all);
    let ids = selection.deployments().map(|one| one.deployment.to_string()).collect();
    (ids, all.iter().filter(|entry| selection.takes(entry)).map(|entry| entry.seq).collect())
}

#[test]
fn records_are_chosen_by_group_deployment_and_number_of_deployments() {
    let everything = (0..14).collect::<Vec<_>>();
    assert_eq!(chosen(Wanted::default()).1, everything);
    let jobs = Wanted { group: Some("jobs".parse().unwrap()), ..Wanted::default() };
    assert_eq!(chosen(jobs), (vec!["d-9".to_owned()], vec![0, 5, 11, 12]), "the host's own record stays");
    let one = Wanted { deployment: Some(id("d-2")), ..Wanted::default() };
    assert_eq!(chosen(one), (vec!["d-2".to_owned()], vec![4, 6, 7, 8]), "with what followed its failure");
    let newest = Wanted { newest: Some(2), ..Wanted::default() };
    assert_eq!(chosen(newest), (vec!["d-3".to_owned(), "d-4".to_owned()], vec![9, 10, 12, 13]));
    let nothing = Wanted { application: Some("other".parse().unwrap()), ..Wanted::default() };
    assert_eq!(chosen(nothing), (vec![], vec![0]));
    assert_eq!(chosen(Wanted { newest: Some(0), ..Wanted::default() }), (vec![], vec![]));
}

#[test]
fn a_revision_is_named_by_its_label_and_eight_digits_or_by_its_place() {
    let (digest, label) = (Sha256Digest::of(b"x"), "1.4.2".parse().unwrap());
    assert_eq!(named(Some(&digest), None, "s3://b/k"), "2d711642");
    assert_eq!(named(Some(&digest), Some(&label), "s3://b/k"), "1.4.2 (2d711642)");
    assert_eq!(named(None, None, "/srv/bundle"), "/srv/bundle");
}

#[test]
fn a_choice_of_the_newest_keeps_only_them_and_still_knows_every_group() {
    let finishes = |number: usize| {
        let id = format!("d-{number}");
        let group = if number < 400 { "jobs" } else { "web" };
        [started(&id, group, None, by(RequesterKind::Cli, "user root")), finished(&id, DeploymentOutcome::Succeeded)]
    };
    let all = entries((0..500).flat_map(finishes).collect());
    let found = selected(Wanted { newest: Some(2), ..Wanted::default() }, &all);
    let shown: Vec<_> = found.deployments().map(|one| (one.deployment.as_str(), one.outcome)).collect();
    let succeeded = Some(DeploymentOutcome::Succeeded);
    assert_eq!(shown, [("d-498", succeeded), ("d-499", succeeded)]);
    assert_eq!((found.deployments.len(), found.places.len()), (2, 2), "nothing else is kept");
    let groups: Vec<String> = found.groups().map(ToString::to_string).collect();
    assert_eq!(groups, ["shop/jobs", "shop/web"]);
}

#[test]
fn an_older_agents_removal_is_the_last_deployment_of_its_group_also_where_that_is_not_wanted() {
    let cli = || by(RequesterKind::Cli, "user root");
    let all = entries(vec![
        started("d-1", "web", None, cli()),
        started("d-2", "web", None, cli()),
        Kind::Removed { group: group("web"), requested: cli() },
    ]);
    let purpose = |deployment: &str| {
        let wanted = Wanted { deployment: Some(id(deployment)), ..Wanted::default() };
        selected(wanted, &all).deployments().map(|one| one.purpose).collect::<Vec<_>>()
    };
    assert_eq!(purpose("d-1"), [DeploymentPurpose::ByHand]);
    assert_eq!(purpose("d-2"), [DeploymentPurpose::Removal]);
}

#[test]
fn records_that_were_never_made_are_counted() {
    let all = entries(vec![
        Kind::RecordsLeftOut { records: 7 },
        started("d-1", "web", None, by(RequesterKind::Cli, "user root")),
        Kind::RecordsLeftOut { records: 2 },
    ]);
    let found = selected(Wanted { newest: Some(1), ..Wanted::default() }, &all);
    assert_eq!(found.left_out(), 9, "of the whole history, whatever is shown of it");
}
