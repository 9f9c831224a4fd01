//! The cloud: one file for each service. It never sees `hostler-host`.

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
pub mod signed_call;
pub mod sqs;
pub mod store_s3;
pub mod sts;
