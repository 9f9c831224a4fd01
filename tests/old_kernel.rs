//! Kernels and sandboxes without the newer system calls: a filter answers as they do, and deployments succeed.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::host::{Bundle, Ended, Host, hook_lines_of};

/// Newer than the oldest supported kernel, or unknown to system call filters in use.
const NEWER: [i64; 3] = [libc::SYS_openat2, libc::SYS_close_range, libc::SYS_copy_file_range];

fn instruction(code: u32, value: u32, skip_if_not: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: skip_if_not, k: value }
}

/// Answers each of these calls with this error, in the command and all of its children.
#[allow(unsafe_code)]
fn without(command: &mut Command, calls: &[i64], errno: i32) {
    let mut program = vec![instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for call in calls {
        let number = u32::try_from(*call).unwrap();
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number, 1));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno.unsigned_abs(), 0));
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    let filter = move || {
        let length = u16::try_from(program.len()).unwrap_or(0);
        let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
        // SAFETY: the kernel copies the program, which outlives the calls; nothing is allocated between fork and exec.
        let answers = unsafe {
            [
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
                libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program),
            ]
        };
        if answers == [0, 0] { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: see above.
    unsafe { command.pre_exec(filter) };
}

fn deploys_and_updates(calls: &[i64], errno: i32) {
    let mut probe = Command::new("grep");
    probe.args(["^Seccomp:", "/proc/self/status"]);
    without(&mut probe, calls, errno);
    Ended::of(probe).saying(&["Seccomp:\t2"]);
    let host = Host::new();
    let deploy = |bundle: &Path| {
        let mut command = host.command(&["deploy", bundle.to_str().unwrap()]);
        without(&mut command, calls, errno);
        Ended::of(command)
    };
    let [first, second] =
        ["v1", "v2"].map(|version| Bundle::new(&host, version).app().content("app/large", [7; 300_000]).all_hooks());
    let (first, second) = (first.write(), second.write());
    deploy(&first).with_code(0);
    host.clear_hook_lines();
    deploy(&second).with_code(0);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"));
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v2\n");
    assert!(!host.at("srv/app/only-v1").exists());
    // A failure is rolled back as elsewhere.
    let bad = Bundle::new(&host, "v3").app().hook("AfterInstall", "exit 1").write();
    deploy(&bad).with_code(1);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v2\n");
    host.ok(&["history", "--verify"]);
}

#[test]
fn a_kernel_without_the_newer_calls_is_enough() {
    let mut calls = NEWER.to_vec();
    // The answer of file systems that cannot rename without replacing.
    calls.push(libc::SYS_renameat2);
    deploys_and_updates(&calls, libc::ENOSYS);
}

#[test]
fn a_sandbox_that_forbids_the_newer_calls_is_enough() {
    deploys_and_updates(&NEWER, libc::EPERM);
}
