//! The channels as sources of deployments, and what every source needs.

pub mod channel;
pub mod channel_status;
pub mod followers;
pub mod idle;
pub mod wake_up;
