//! The decisions about shipping logs to CloudWatch Logs.
//!
//! ```text
//! settings awslogs placeholders        what is shipped, and where to
//! pattern                              which names a pattern of files means
//! identity rotation                    which bytes belong to which file, whatever its name is now
//! lines timestamp encoding redact      bytes of a file to the text and time of an event
//! batch service                        events to one request that the service takes
//! answer turns                         which events were not kept, and whose turn it is
//! lag                                  what `hostler logs --lag` shows
//! ```
//!
//! A batch is a pure function of its bytes, its base time and the settings: a batch that is sent again after a crash or
//! a lost answer is identical, byte by byte.

pub mod answer;
pub mod awslogs;
pub mod batch;
pub mod embedded_metrics;
pub mod encoding;
pub mod fair_queue;
pub mod identity;
pub mod lag;
pub mod lines;
pub mod pattern;
pub mod placeholders;
pub mod redact;
pub mod rotation;
pub mod service;
pub mod settings;
pub mod timestamp;

#[cfg(test)]
mod tests;
