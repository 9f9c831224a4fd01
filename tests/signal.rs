//! `hostler signal`, against a service that accepts CloudFormation's signals as its pages describe.

use std::process::Command;

use crate::support::auto_scaling::SECRET;
use crate::support::cloudformation::start;
use crate::support::host::{Ended, Host, ended_with_input};
use crate::support::http_server::Server;

fn signal(host: &Host, server: &Server, more: &[&str]) -> Ended {
    Ended::of(command(host, server, more))
}

fn command(host: &Host, server: &Server, more: &[&str]) -> Command {
    let mut command = host.command(&[&["signal"][..], more].concat());
    command.env("AWS_ENDPOINT_URL", server.url()).env("AWS_REGION", "eu-central-1").env("HOSTLER_INSTANCE_ID", "i-1");
    command.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", SECRET);
    command
}

const TARGET: [&str; 6] = ["--stack", "web", "--resource", "Fleet", "--region", "eu-west-3"];

#[test]
fn success_and_failure_are_signalled_in_cfn_signals_words() {
    let (host, (server, stack)) = (Host::new(), start("eu-west-3"));
    for (flags, status) in [
        (&[][..], "SUCCESS"),
        (&["-e", "0"], "SUCCESS"),
        (&["-e", "7"], "FAILURE"),
        (&["--success", "true"], "SUCCESS"),
        (&["-s", "false"], "FAILURE"),
    ] {
        let said = signal(&host, &server, &[&TARGET[..], flags].concat()).with_code(0);
        assert_eq!(said.out, format!("signalled {status} as i-1\n"), "{flags:?}");
        let seen = stack.lock().unwrap().signals.pop().unwrap();
        assert_eq!(seen, ("i-1".to_owned(), status.to_owned()), "{flags:?}");
    }
    assert_eq!(stack.lock().unwrap().wrong, Vec::<String>::new());
}

#[test]
fn late_and_repeated_signals_are_success_and_others_are_not() {
    let (host, (server, stack)) = (Host::new(), start("eu-west-3"));
    stack.lock().unwrap().throttled = 1;
    signal(&host, &server, &[&TARGET[..], &["--id", "me"]].concat()).with_code(0);
    assert_eq!(stack.lock().unwrap().signals, [("me".to_owned(), "SUCCESS".to_owned())]);
    stack.lock().unwrap().complete = true;
    let late = signal(&host, &server, &[&TARGET[..], &["--json"]].concat()).with_code(0).json();
    assert_eq!((&late["taken"], &late["unique_id"]), (&false.into(), &"i-1".into()), "{late}");
    let other = ["--stack", "other", "--resource", "Fleet", "--region", "eu-west-3"];
    signal(&host, &server, &other).with_code(1).saying(&["the signal was not taken", "Stack does not exist"]);
}

#[test]
fn a_wait_condition_is_signalled_by_its_url() {
    let (host, (server, stack)) = (Host::new(), start("eu-west-3"));
    let url = format!("{}/handle?Signature=secret", server.url());
    signal(&host, &server, &["-e", "0", "-d", "10.0.0.1", "-r", "all well", &url]).with_code(0);
    let expected =
        serde_json::json!({"Status": "SUCCESS", "UniqueId": "i-1", "Data": "10.0.0.1", "Reason": "all well"});
    let stack = stack.lock().unwrap();
    assert_eq!((stack.conditions.as_slice(), stack.wrong.as_slice()), (&[expected][..], &[][..]));
}

#[test]
fn the_url_of_a_wait_condition_may_come_on_standard_input() {
    let (host, (server, stack)) = (Host::new(), start("eu-west-3"));
    let with_input = |input: &str| ended_with_input(command(&host, &server, &["-i", "me", "-"]), input);
    with_input(&format!("{}/handle?Signature=secret\n", server.url())).with_code(0);
    assert_eq!(stack.lock().unwrap().conditions.len(), 1);
    with_input("\n").with_code(2).saying(&["standard input is empty", "the wait condition's URL"]);
    let said = with_input("https//me:secret@host/handle?Signature=secret").with_code(1);
    assert!(!format!("{said:?}").contains("secret"), "{said:?}");
}

#[test]
fn what_to_signal_must_be_named_once() {
    let (host, (server, _)) = (Host::new(), start("eu-west-3"));
    for flags in [
        &[][..],
        &["--stack", "web"],
        &["--stack", "web", "--resource", "F", "http://x"],
        &["-e", "0", "-s", "true", "http://x"],
    ] {
        signal(&host, &server, flags).with_code(2);
    }
    let long = "x".repeat(65);
    signal(&host, &server, &[&TARGET[..], &["--id", &long]].concat()).with_code(2).saying(&["64 bytes"]);
}
