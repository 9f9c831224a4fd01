//! The shared parts of the black-box tests.

pub mod auto_scaling;
pub mod cloudformation;
pub mod codedeploy;
mod eventually;
mod golden;
pub mod host;
pub mod http_server;
pub mod imds;
pub mod kept_by;
pub mod load_balancing;
pub mod logs_service;
pub mod machine;
pub mod made_once;
pub mod moto;
pub mod packages;
mod requirement;
pub mod s3_front;
pub mod sigv4;
pub mod syncs;
mod tree;

pub use eventually::eventually;
pub use golden::golden;
pub use requirement::skip;
