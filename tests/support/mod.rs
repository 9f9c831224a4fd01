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

/// Whether a program is there. If not, the test is skipped.
#[track_caller]
pub fn tool_or_skip(name: &str) -> bool {
    let found =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|at| at.join(name).is_file()));
    if !found {
        skip(format_args!("{name} is missing: tests/run installs it as root"));
    }
    found
}
