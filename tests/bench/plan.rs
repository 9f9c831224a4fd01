//! `hostler validate` and `hostler plan` of a directory with five thousand files.

use std::process::Stdio;

use crate::support::{SMALL_FILES, fastest, hostler, hostler_at, measure, memory_directory, small_files, verdict};

const ROUNDS: usize = 9;

pub fn run() -> bool {
    let room = memory_directory();
    let (bundle, root) = (room.path().join("bundle"), room.path().join("root"));
    small_files(&bundle, 1);
    std::fs::create_dir(&root).expect("the root");
    let (mut validate, mut plan) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        validate.push(measure(hostler("validate").arg(&bundle).stdout(Stdio::null())));
        plan.push(measure(hostler_at(&root, "plan").arg(&bundle).stdout(Stdio::null())));
    }
    let (validate, plan) = (fastest(&validate), fastest(&plan));
    println!("  validate, {SMALL_FILES} files  {validate}");
    println!("  plan, {SMALL_FILES} files      {plan}");
    let both = (validate.wall + plan.wall).as_secs_f64() * 1e3;
    verdict("both", both, "ms", both < 100.0, "under 100")
}
