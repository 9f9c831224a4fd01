//! The plan of an Install: ordered actions with no choices left, or all the reasons why not.

pub mod actions;
