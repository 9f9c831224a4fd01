//! The keys about AWS and downloads. Names are those of AWS's shared config file where it has them.

use super::{Key, Kind};

const ADDRESS: Kind = Kind::Form("address with https:// or http://");
const PROXY: Kind = Kind::Either(&Kind::Word(&["direct"]), &Kind::Form("http://HOST:PORT"));
const ELSEWHERE: &str = "AWS's own settings";

pub(super) const AWS: &[Key] = &[
    Key::new("aws.region", Kind::Form("code of a region"), "The region in which requests begin.", "eu-west-1")
        .otherwise(ELSEWHERE),
    Key::new(
        "aws.endpoint_url",
        ADDRESS,
        "The endpoint of all services, for emulators and private networks.",
        "https://vpce.example",
    )
    .otherwise(ELSEWHERE),
    Key::new("aws.use_fips_endpoint", Kind::Boolean, "The agent uses FIPS 140 endpoints.", "true").otherwise(ELSEWHERE),
    Key::new(
        "aws.use_dualstack_endpoint",
        Kind::Boolean,
        "The agent uses endpoints that answer on IPv6 and IPv4.",
        "true",
    )
    .otherwise(ELSEWHERE),
    Key::new(
        "aws.ca_bundle",
        Kind::Path,
        "PEM file of the certificate authorities that are trusted instead of the system's.",
        "/etc/ssl/own.pem",
    )
    .otherwise(ELSEWHERE),
    Key::new(
        "aws.proxy",
        PROXY,
        "The proxy, with `user:password@` if it needs them; `direct` uses none, whatever the environment says.",
        "http://proxy:3128",
    )
    .otherwise("`HTTPS_PROXY` and the like")
    .secret(),
    Key::new(
        "aws.no_proxy",
        Kind::Texts,
        "Hosts, domains and networks that are reached without the proxy.",
        "[.internal, 10.0.0.0/8]",
    )
    .otherwise("`NO_PROXY`"),
    Key::new("aws.s3", Kind::Section, "Different settings for S3.", "{addressing_style: path}"),
];

pub(super) const S3: &[Key] = &[
    Key::new("aws.s3.endpoint_url", ADDRESS, "The endpoint of S3 alone.", "https://s3.internal")
        .otherwise("`aws.endpoint_url`"),
    Key::new(
        "aws.s3.addressing_style",
        Kind::Word(&["auto", "path", "virtual"]),
        "The place of the bucket's name: in the path, in the host name, or as fits the endpoint.",
        "path",
    )
    .usually("auto"),
    Key::new("aws.s3.proxy", PROXY, "The proxy of S3 alone.", "direct").otherwise("`aws.proxy`").secret(),
];

pub(super) const DOWNLOADS: &[Key] = &[Key::new(
    "downloads.max_bytes_per_second",
    Kind::Size(1, u64::MAX),
    "The bytes per second of a download, all its connections together.",
    "50M",
)
.otherwise("no limit")
.hint("leave the key out for no limit")];
