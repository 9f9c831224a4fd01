//! The configuration, as users meet it: how values are written, what a wrong one says, and what holds for a group that
//! only the command line names.

use std::fs;

use crate::support::host::Host;

#[test]
fn a_group_of_the_command_line_has_the_interval_of_the_configuration() {
    let host = Host::new();
    host.configure("poll: 5m\n");
    let store = host.store();
    let store = store.to_str().unwrap();
    fs::create_dir_all(store).unwrap();
    let daemon = host.start(&["run", "--channel", store]);
    let channel = crate::support::eventually("the channel is followed", crate::support::host::PATIENCE, || {
        let shown = host.run(&["status", "--json"]);
        let channel =
            serde_json::from_str::<serde_json::Value>(&shown.out).ok().map(|s| s["daemon"]["channels"][0].clone());
        channel.filter(|channel| !channel.is_null()).ok_or_else(|| format!("{shown:?}\n{}", daemon.said()))
    });
    assert_eq!(channel["poll_seconds"], 300, "{channel}");
    host.ok(&["stop"]);
    daemon.end().with_code(0);
}

#[test]
fn a_value_is_written_alike_everywhere_and_a_wrong_one_says_what_is_expected() {
    let host = Host::new();
    let file = host.path("config.yaml");
    let file = file.to_str().unwrap();
    let good = "groups: [{application: a, group: g, max_revision_bytes: 2G, cleanup: yes, health: [{unit: a, interval: 1d}]}]\n\
                downloads: {max_bytes_per_second: 50M}\nlogs: {deleted_bytes: 2G, compress: \"true\"}\n";
    fs::write(file, good).unwrap();
    host.run(&["validate", file]).with_code(0);
    for (text, said) in [
        ("downloads: {max_bytes_per_second: fast}\n", "must be a size from 1 byte, not `fast`"),
        ("downloads: {max_bytes_per_second: fast}\n", "leave the key out for no limit"),
        ("groups: [{application: a, group: g, minimum_sequence: x}]\n", "must be a whole number from 0, not `x`"),
        ("bake_time: 5m\npoll: 5s\n", "`bake_time` is a key of `groups`"),
        ("health_listener: 8080\n", "must be an address and a port, not `8080`"),
    ] {
        fs::write(file, text).unwrap();
        host.run(&["validate", file]).with_code(1).saying(&[said]);
    }
}
