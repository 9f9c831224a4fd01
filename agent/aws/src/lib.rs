//! The cloud: one file for each service. It never sees `hostler-host`.

pub mod clients;
pub mod fault;
pub mod store_s3;
