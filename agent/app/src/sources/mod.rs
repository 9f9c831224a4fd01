//! The sources of deployments: channels and the CodeDeploy service.

pub mod channel;
pub mod channel_status;
pub mod codedeploy;
pub mod followers;
mod idle;
pub mod wake_up;
