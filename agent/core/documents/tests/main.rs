//! Tests that use the crate as others do, by what is public.

mod corpus;
mod corpus_plan;
mod plan_problems;
mod plan_properties;
mod reference;
