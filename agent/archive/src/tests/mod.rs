//! Bundles of every form, good and hostile.

mod hostile_tar;
mod hostile_zip;
mod packing;
mod real_tools;
mod support;
mod table;
mod taken;
mod truncation;
