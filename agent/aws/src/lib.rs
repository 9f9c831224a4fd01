//! The cloud: one file for each service. It never sees `hostler-host`.
//!
//! ```text
//! clock flow bounded reach fault endpoint        time, pace and bounds; errors; addresses
//! ca_bundle                                      whom to trust
//! imds                                           the instance metadata service
//!      ^
//! selected_profile kept_credentials clients      one SDK configuration, credentials for all
//!      ^
//! signed_call store_s3 credentials               calls without an SDK crate; buckets; where credentials come from
//!      ^
//! asg cfn codedeploy ec2 elb kms logs sqs sts    the services
//! https                                          a bundle behind an address
//! ```
//!
//! The map begins with the lowest floor. A room imports only from floors below its own, and from its own floor if no
//! circle arises; `tests/architecture` reads this map and the imports.

pub mod asg;
mod bounded;
mod ca_bundle;
pub mod cfn;
pub mod clients;
mod clock;
pub mod codedeploy;
pub mod credentials;
pub mod ec2;
pub mod elb;
pub mod endpoint;
pub mod fault;
mod flow;
pub mod https;
pub mod imds;
mod kept_credentials;
pub mod kms;
pub mod logs;
mod reach;
mod selected_profile;
pub mod signed_call;
pub mod sqs;
pub mod store_s3;
pub mod sts;
