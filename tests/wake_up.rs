//! A queue that wakes the daemon: it polls once an hour, and the queue reports changes of the channel.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::host::{Bundle, Host, PATIENCE, Running};
use crate::support::moto::Moto;

fn send(moto: &Moto, queue: &str, message: &Value) {
    let input = json!({ "QueueUrl": queue, "MessageBody": message.to_string() });
    moto.json("sqs", "AmazonSQS.SendMessage", &input).unwrap();
}

/// Messages in the queue, or received and not deleted.
fn left(moto: &Moto, queue: &str) -> String {
    let input = json!({ "QueueUrl": queue, "AttributeNames": ["All"] });
    let attributes = moto.json("sqs", "AmazonSQS.GetQueueAttributes", &input).unwrap()["Attributes"].clone();
    format!("{} {}", attributes["ApproximateNumberOfMessages"], attributes["ApproximateNumberOfMessagesNotVisible"])
}

fn daemon(host: &Host) -> Running {
    let mut command = host.command(&["run"]);
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    host.start_command(command)
}

#[test]
fn a_message_about_the_release_is_followed_at_once() {
    let Some(moto) = Moto::start_or_skip() else { return };
    let answer = moto.json("sqs", "AmazonSQS.CreateQueue", &json!({ "QueueName": "wake" })).unwrap();
    let queue = answer["QueueUrl"].as_str().unwrap().to_owned();
    let host = Host::new();
    let store = host.store().display().to_string();
    host.configure(&format!(
        "aws: {{region: us-east-1, endpoint_url: \"{}\"}}\n\
         groups: [{{application: shop, group: web, channel: {store}, poll: 1h, wake_up_queue: \"{queue}\"}}]\n",
        moto.url()
    ));
    let daemon = daemon(&host);
    // Deleted from the queue without effect: S3 sends this message when notifications are set up.
    send(&moto, &queue, &json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}));
    eventually("the test notification is taken off the queue", PATIENCE, || match left(&moto, &queue) {
        left if left == "\"0\" \"0\"" => Ok(()),
        left => Err(format!("{left}\n{}", daemon.said())),
    });
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    assert!(!host.at("srv/app/version").exists(), "nobody has looked yet");
    send(&moto, &queue, &json!({"Records": [{"s3": {"object": {"key": "prefix/shop/web/release.json"}}}]}));
    host.status_when("the release is deployed", |s| s["condition"] == "good");
    daemon.kill();
}

#[test]
fn a_reload_leads_to_the_queue_at_once() {
    let Some(moto) = Moto::start_or_skip() else { return };
    let answer = moto.json("sqs", "AmazonSQS.CreateQueue", &json!({ "QueueName": "wake" })).unwrap();
    let queue = answer["QueueUrl"].as_str().unwrap().to_owned();
    let host = Host::new();
    let store = host.store().display().to_string();
    let configure = |endpoint: &str| {
        host.configure(&format!(
            "aws: {{region: us-east-1, endpoint_url: \"{endpoint}\"}}\n\
             groups: [{{application: shop, group: web, channel: {store}, poll: 1h, wake_up_queue: \"{queue}\"}}]\n",
        ));
    };
    // The port is closed.
    configure("http://127.0.0.1:9");
    let daemon = daemon(&host);
    daemon.says("the wake-up queue cannot be read");
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    send(&moto, &queue, &json!({"Records": [{"s3": {"object": {"key": "prefix/shop/web/release.json"}}}]}));
    configure(&moto.url());
    host.ok(&["reload"]);
    host.status_when("the release is deployed", |s| s["condition"] == "good");
    daemon.kill();
}
