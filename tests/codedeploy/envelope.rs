//! The signatures that a specification needs.

use super::*;

#[test]
fn a_specification_that_was_altered_is_refused_and_nothing_runs() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    service.alter_envelopes();
    service.deploy(&whole(&host, &service, "v1", "d-ALTERED01"), &IN_PLACE);
    let report = service.report_of("d-ALTERED01", "BeforeBlockTraffic");
    assert_eq!((report.status.as_str(), &report.diagnostics["error_code"]), ("Failed", &5.into()));
    assert!(report.diagnostics["message"].as_str().unwrap().contains("does not verify"), "{report:?}");
    assert!(service.acknowledgements().is_empty() && host.hook_lines().is_empty());
}

#[test]
fn a_changed_signer_is_reported_or_refused_as_the_configuration_says() {
    let (host, service) = served();
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    service.change_signer();
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &IN_PLACE);
    running.says("specifications are now signed with the certificate");
    stop(&host, &service);
    running.end().with_code(0);

    service.write_config(&host.root(), "  changed_signer: refuse\n");
    let running = daemon(&host);
    service.change_signer();
    service.deploy(&whole(&host, &service, "v3", "d-THIRD0003"), &IN_PLACE);
    let report = service.report_of("d-THIRD0003", "BeforeBlockTraffic");
    assert_eq!(report.status, "Failed");
    assert!(report.diagnostics["message"].as_str().unwrap().contains("as before on this host"), "{report:?}");
    assert_eq!(host.version(), "v2", "{}", running.said());
}

#[test]
fn a_chain_is_only_looked_at_where_authorities_are_configured() {
    let (host, service) = served();
    // The service's own TLS certificate is no authority over its signer.
    service.write_config(&host.root(), "  signer_authorities: /ca.pem\n");
    let _daemon = daemon(&host);
    service.deploy(&whole(&host, &service, "v1", "d-CHAIN0001"), &IN_PLACE);
    let report = service.report_of("d-CHAIN0001", "BeforeBlockTraffic");
    let message = report.diagnostics["message"].as_str().unwrap();
    assert!(message.contains("does not lead to the configured authorities"), "{message}");
}

#[test]
fn a_specification_that_was_signed_for_another_deployment_is_refused() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let v1 = whole(&host, &service, "v1", "d-FIRST0001");
    service.deploy_to_the_end(&v1, &IN_PLACE);
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &IN_PLACE);
    host.clear_hook_lines();
    // The first deployment's envelope comes as the third's.
    service.deploy_as("d-THIRD0003", &v1, &IN_PLACE);
    let report = service.report_of("d-THIRD0003", "BeforeBlockTraffic");
    assert_eq!(report.status, "Failed");
    let message = report.diagnostics["message"].as_str().unwrap();
    assert!(message.contains("d-FIRST0001") && message.contains("d-THIRD0003"), "{message}");
    assert_eq!((host.version().as_str(), host.hook_lines().len()), ("v2", 0));
}

#[test]
fn a_signer_that_has_left_sha_1_does_not_go_back() {
    let (host, service) = served();
    service.write_config(&host.root(), "  changed_signer: refuse\n");
    let running = daemon(&host);
    service.sign_over("sha1");
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    service.sign_over("sha256");
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &IN_PLACE);
    stop(&host, &service);
    running.end().with_code(0);

    let running = daemon(&host);
    service.sign_over("sha1");
    service.deploy(&whole(&host, &service, "v3", "d-THIRD0003"), &IN_PLACE);
    let report = service.report_of("d-THIRD0003", "BeforeBlockTraffic");
    assert_eq!(report.status, "Failed");
    assert!(report.diagnostics["message"].as_str().unwrap().contains("SHA-1"), "{report:?}");
    assert_eq!(host.version(), "v2", "{}", running.said());
}

#[test]
fn an_envelope_without_a_payload_is_a_failure_that_is_reported() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    service.put_nothing_in_envelopes();
    service.deploy(&whole(&host, &service, "v1", "d-EMPTY0001"), &IN_PLACE);
    let report = service.report_of("d-EMPTY0001", "BeforeBlockTraffic");
    assert_eq!(report.status, "Failed");
    assert_eq!(report.diagnostics["message"], "Deployment Specification missing", "{report:?}");
}

#[test]
fn the_appspecs_name_does_not_lead_out_of_the_bundle() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let canary = host.path("canary");
    std::fs::write(&canary, "canary: of root\n").unwrap();
    let up = format!("../../../../../../../../../../../..{}", canary.display());
    for (deployment, name) in [("d-PLACE0001", canary.to_str().unwrap()), ("d-PLACE0002", &up)] {
        let mut specification = whole(&host, &service, "v1", deployment);
        specification["AppSpecFilename"] = name.into();
        service.deploy(&specification, &IN_PLACE);
        let report = service.report_of(deployment, "BeforeBlockTraffic");
        assert_eq!(report.status, "Failed");
        let text = report.diagnostics.to_string();
        assert!(text.contains("AppSpecFilename") && !text.contains("of root"), "{text}");
    }
    // A link in the bundle that leads out of it.
    let bundle = Bundle::new(&host, "v2").app().all_hooks().link("deploy.yml", canary.to_str().unwrap()).write();
    put(&service, "v2.tgz", &bundle);
    let mut specification = specification("d-PLACE0003", "web", s3("v2.tgz", "tgz"));
    specification["AppSpecFilename"] = "deploy.yml".into();
    service.deploy_to_the_end(&specification, &IN_PLACE);
    assert!(service.reports().iter().all(|report| !report.diagnostics.to_string().contains("of root")));
    assert_eq!(host.version(), "v2", "the bundle's appspec.yml counts");
}
