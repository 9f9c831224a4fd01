//! Which checks go on.

use hostler_core::machine::State;
use hostler_core::machine::state::{Installed, Revision};

use super::*;
use crate::controller::start;
use crate::test_support::{Host, listen, logged, setup};

/// A state in which a revision of the group is installed by this deployment.
fn installed(key: &GroupKey, deployment: &str) -> Arc<State> {
    let revision = Revision { location: "test".to_owned(), digest: None, size: None, bundle_type: None, label: None };
    let id: DeploymentId = deployment.parse().unwrap();
    let installed = Installed {
        deployment: id.clone(),
        archive: id,
        revision,
        appspec_name: None,
        sequence: None,
        trust: Default::default(),
        at_ms: 1,
        health: Vec::new(),
    };
    let mut state = State::default();
    state.groups.insert(key.id(), Group { installed: Some(installed), ..Group::new(key.clone()) });
    Arc::new(state)
}

#[tokio::test(start_paused = true)]
async fn checks_begin_with_an_installed_revision_and_go_on_until_there_is_another_one_or_none() {
    listen();
    // Port 1 is the port multiplexer's, which no host runs.
    let check = "{tcp: '127.0.0.1:1', interval: 1s, failures: 3}";
    let groups = format!("groups: [{{application: web, group: blue, health: [{check}]}}]");
    let host = Host::new(setup("/nowhere".as_ref(), &groups));
    let key = GroupKey::new("web".parse().unwrap(), "blue".parse().unwrap());
    let watch = HealthWatch::default();
    let given = watch.clone();
    start(&host.sources, move || Monitor::new(given.clone()));
    let seconds = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;
    let colour = || watch.watch().borrow().get(&key.id()).map(|report| report.colour);
    seconds(10).await;
    assert_eq!(colour(), None, "nothing is installed");
    host.state.send_replace(installed(&key, "d-1"));
    let mut health = watch.watch();
    let is_red = |health: &hostler_core::status::Health| health.values().any(|report| report.colour == Colour::Red);
    health.wait_for(is_red).await.unwrap();
    let unhealthy = |logged: &[String]| logged.iter().filter(|line| line.contains("unhealthy: ")).count();
    host.touch_state();
    seconds(60).await;
    assert_eq!(colour(), Some(Colour::Red), "the same checks go on");
    assert_eq!(unhealthy(&logged()), 1, "and say it once");
    host.state.send_replace(installed(&key, "d-2"));
    health.wait_for(|health| !is_red(health)).await.unwrap();
    health.wait_for(is_red).await.unwrap();
    assert_eq!(unhealthy(&logged()), 1, "another revision is checked from the beginning");
    host.reload("");
    seconds(10).await;
    assert_eq!(colour(), None, "without checks there is no report");
}
