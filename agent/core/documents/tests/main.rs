//! Tests that use the public interface of the crate.
#![allow(clippy::disallowed_methods, reason = "the tests of core read files; core does not")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests are test code too, which clippy does not see in this kind of crate"
)]

mod corpus;
mod corpus_plan;
mod plan_bounds;
mod plan_links;
mod plan_problems;
mod plan_properties;
mod plan_ways;
mod reference;
