//! This host's identity for the service, and its credentials.

use super::*;
use crate::support::host::write;
use crate::support::imds::Imds;
use crate::support::s3_front::{ACCESS_KEY, SECRET_KEY};

const EVENTS: [&str; 2] = ["DownloadBundle", "Install"];

#[test]
fn an_instance_is_named_by_the_metadata_service_and_signs_with_its_role() {
    let (host, service) = served();
    std::fs::remove_file(host.at("etc/codedeploy-agent/conf/codedeploy.onpremises.yml")).unwrap();
    let imds = Imds::start("i-0123456789abcdef0");
    imds.change(|instance| {
        instance.region = "eu-west-1".to_owned();
        instance.role = Some("web".to_owned());
    });
    let arn = "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0";
    service.expect_caller(arn, ACCESS_KEY, SECRET_KEY, "session");
    let mut command = host.command(&["run"]);
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url());
    let running = host.start_command(command);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-EC2HOST01"), &EVENTS);
    running.says(arn);
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_host_with_an_iam_session_signs_with_the_keys_that_something_else_renews() {
    let (host, service) = served();
    let arn = "arn:aws:sts::123456789012:assumed-role/hosts/host-1";
    let credentials = host.path("credentials");
    let session = |key: &str| {
        write(
            &credentials,
            format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = s3cret\naws_session_token = tok\n"),
        );
        service.expect_caller(arn, key, "s3cret", "tok");
    };
    let file =
        format!("---\niam_session_arn: {arn}\nregion: eu-west-1\naws_credentials_file: {}\n", credentials.display());
    write(&host.at("etc/codedeploy-agent/conf/codedeploy.onpremises.yml"), file);
    session("ASIAFIRST");
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-SESSION01"), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
    stop(&host, &service);
    running.end().with_code(0);
    session("ASIASECOND");
    let _daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SESSION02"), &EVENTS);
    assert_eq!(host.version(), "v2");
}

#[test]
fn the_agents_version_is_what_its_package_left_beside_the_deployments_or_in_the_usual_place() {
    let (host, service) = served();
    let said = |deployment: &str| {
        let running = daemon(&host);
        service.deploy_to_the_end(&whole(&host, &service, deployment, &format!("d-{deployment}")), &EVENTS[..1]);
        stop(&host, &service);
        running.end().with_code(0);
        service.agent_version()
    };
    assert_eq!(said("NOFILE"), "UNKNOWN_VERSION");
    write(&host.at("opt/codedeploy-agent/.version"), "agent_version: OFFICIAL_1.8.1-0_deb\n");
    assert_eq!(said("USUAL"), "OFFICIAL_1.8.1-0_deb");
    let path = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    write(&path, text.replace("/opt/codedeploy-agent/deployment-root", "/srv/agent/deployments"));
    write(&host.at("srv/agent/.version"), "agent_version: OFFICIAL_1.7.0-92_rpm\n");
    assert_eq!(said("BESIDE"), "OFFICIAL_1.7.0-92_rpm");
}
