//! Reads from the head of an ELF program which hosts can run it: the machine that it is built for, and the loader that
//! it requests. The layout is from elf(5).

/// The facts about a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The machine that it is built for.
    pub machine: Machine,
    /// The loader that the kernel starts for it, such as `/lib64/ld-linux-x86-64.so.2`. `None` for a static program,
    /// and for a loader beyond the bytes that were read.
    pub loader: Option<String>,
}

/// A machine, by its number in the ELF header (`e_machine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine(u16);

/// The programs that a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMachine {
    /// Its machine.
    pub machine: Machine,
    /// Whether an emulator such as qemu runs programs of other machines on it.
    pub emulation: Emulation,
}

/// Whether a host runs programs of other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emulation {
    /// It does not.
    Absent,
    /// It may.
    Unknown,
    /// It does.
    Present,
}

/// Number, name in uname(2), and the name in EC2 and most tools.
const MACHINES: [(u16, &str, &str); 5] = [
    (62, "x86_64", "x86_64"),
    (183, "aarch64", "arm64"),
    (3, "i686", "i386"),
    (40, "armv7l", "arm"),
    (243, "riscv64", "riscv64"),
];

impl Machine {
    /// The machine with this name in uname(2).
    pub fn named(uname: &str) -> Option<Self> {
        MACHINES.iter().find(|(_, name, _)| *name == uname).map(|(number, ..)| Self(*number))
    }

    /// EC2's name for it.
    pub fn name(self) -> String {
        let known = MACHINES.iter().find(|(number, ..)| *number == self.0);
        known.map_or_else(|| format!("a machine with the ELF number {}", self.0), |(.., name)| (*name).to_owned())
    }

    /// Whether a host of the given machine may run programs of this one. Most 64-bit kernels also run programs of the
    /// corresponding 32-bit machine.
    pub fn runs_on(self, host: Self) -> bool {
        self == host || matches!((self.0, host.0), (3, 62) | (40, 183))
    }
}

/// Reads the head of a file; `None` if it is not an ELF program, or is cut off before the machine.
pub fn read(head: &[u8]) -> Option<Program> {
    let wide = match head.strip_prefix(b"\x7fELF")?.first()? {
        1 => false,
        2 => true,
        _ => return None,
    };
    let fields = Fields { head, big: *head.get(5)? == 2 };
    let machine = Machine(u16::try_from(fields.number(18, 2)?).ok()?);
    Some(Program { machine, loader: fields.loader(wide) })
}

/// Whether an entry of `/proc/sys/fs/binfmt_misc` runs ELF programs through another program, as qemu's entries do.
pub fn is_emulator(entry: &str) -> bool {
    let mut lines = entry.lines();
    lines.next() == Some("enabled") && lines.any(|line| line.starts_with("magic 7f454c46"))
}

struct Fields<'a> {
    head: &'a [u8],
    big: bool,
}

impl Fields<'_> {
    fn number(&self, at: usize, width: usize) -> Option<u64> {
        let bytes = self.head.get(at..at.checked_add(width)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    /// The content of the first segment of the type PT_INTERP, without the terminating zero byte.
    fn loader(&self, wide: bool) -> Option<String> {
        let (table, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
        let word = if wide { 8 } else { 4 };
        let place = |at: usize, width| usize::try_from(self.number(at, width)?).ok();
        let (table, size, count) = (place(table, word)?, place(size, 2)?, place(count, 2)?);
        let (offset_at, length_at) = if wide { (8, 32) } else { (4, 16) };
        for index in 0..count {
            let segment = table.checked_add(index.checked_mul(size)?)?;
            if self.number(segment, 4)? != 3 {
                continue;
            }
            let offset = place(segment.checked_add(offset_at)?, word)?;
            let length = place(segment.checked_add(length_at)?, word)?;
            let text = self.head.get(offset..offset.checked_add(length)?)?;
            let text = text.split(|byte| *byte == 0).next()?;
            return String::from_utf8(text.to_vec()).ok();
        }
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The head of a program, with a loader if one is given.
    pub(crate) fn program(wide: bool, big: bool, machine: u16, loader: Option<&str>) -> Vec<u8> {
        let number = |value: usize, width: usize| -> Vec<u8> {
            let bytes = value.to_be_bytes();
            let bytes = &bytes[bytes.len() - width..];
            if big { bytes.to_vec() } else { bytes.iter().rev().copied().collect() }
        };
        let (header, segment, word) = if wide { (64, 56, 8) } else { (52, 32, 4) };
        let mut head = vec![0; header + 2 * segment];
        let mut put = |at: usize, bytes: Vec<u8>| head[at..at + bytes.len()].copy_from_slice(&bytes);
        put(0, b"\x7fELF".to_vec());
        put(4, vec![if wide { 2 } else { 1 }, if big { 2 } else { 1 }, 1]);
        put(18, number(machine.into(), 2));
        put(if wide { 32 } else { 28 }, number(header, word));
        put(if wide { 54 } else { 42 }, number(segment, 2));
        put(if wide { 56 } else { 44 }, number(2, 2));
        // The first segment is of another type (PT_PHDR).
        put(header, number(6, 4));
        if let Some(loader) = loader {
            let at = header + segment;
            put(at, number(3, 4));
            put(at + if wide { 8 } else { 4 }, number(header + 2 * segment, word));
            put(at + if wide { 32 } else { 16 }, number(loader.len() + 1, word));
            head.extend_from_slice(loader.as_bytes());
            head.push(0);
        }
        head
    }

    #[test]
    fn a_program_says_its_machine_and_its_loader_in_every_width_and_order() {
        for (wide, big, machine, name) in [
            (true, false, 62, "x86_64"),
            (true, false, 183, "arm64"),
            (false, false, 3, "i386"),
            (true, true, 22, "22"),
        ] {
            for loader in [None, Some("/lib/ld-musl.so.1")] {
                let found = read(&program(wide, big, machine, loader)).unwrap();
                assert!(found.machine.name().ends_with(name), "{found:?}");
                assert_eq!(found.loader.as_deref(), loader, "{name}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_wrong_is_no_fault_of_the_reader() {
        let whole = program(true, false, 62, Some("/lib/ld.so"));
        for length in 0..whole.len() {
            let found = read(&whole[..length]);
            assert_eq!(found.is_some(), length >= 20, "{length}");
            assert_eq!(found.and_then(|found| found.loader), None, "{length}");
        }
        // Each byte with its largest value: offsets, lengths and counts that overflow.
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] = 0xff;
            read(&wrong);
            wrong[at..].fill(0xff);
            read(&wrong);
        }
        assert_eq!(read(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn programs_of_the_narrow_machine_run_on_the_wide_one_only() {
        let [wide, narrow, arm] = [62, 3, 183].map(Machine);
        assert!(wide.runs_on(wide) && narrow.runs_on(wide) && Machine(40).runs_on(arm));
        assert!(!wide.runs_on(narrow) && !arm.runs_on(wide) && !narrow.runs_on(arm));
        assert_eq!((Machine::named("aarch64"), Machine::named("pdp11")), (Some(arm), None));
    }

    #[test]
    fn what_runs_programs_of_other_machines_is_known_by_its_magic() {
        let qemu = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F\noffset 0\nmagic 7f454c460201010000\n";
        assert!(is_emulator(qemu) && !is_emulator(&qemu.replace("enabled", "disabled")));
        assert!(!is_emulator("enabled\ninterpreter /usr/bin/python3.11\nflags: \noffset 0\nmagic a70d0d0a\n"));
    }
}
