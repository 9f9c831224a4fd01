//! What a specification must be signed with.

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
    host.ok(&["stop"]);
    running.end().with_code(0);

    service.write_config(&host.root(), "  changed_signer: refuse\n");
    let running = daemon(&host);
    service.change_signer();
    service.deploy(&whole(&host, &service, "v3", "d-THIRD0003"), &IN_PLACE);
    let report = service.report_of("d-THIRD0003", "BeforeBlockTraffic");
    assert_eq!(report.status, "Failed");
    assert!(report.diagnostics["message"].as_str().unwrap().contains("as before on this host"), "{report:?}");
    assert_eq!(version(&host), "v2\n", "{}", running.said());
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
