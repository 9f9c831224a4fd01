//! The appspec file: as written (`raw`), as meant (`spec`), and what is wrong with it (`diagnose`).

pub mod spec;
