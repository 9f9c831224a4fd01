//! Where wishes come from: channels now, others later.

pub mod channel;
pub mod codedeploy;
pub mod followers;
mod rest;
pub mod signatures;
pub mod store;
pub mod wake_up;
