//! The memory of a process that only waits: a hook's supervisor for hours, the daemon between two polls.

use nix::libc;

/// Bytes that a thread's pool of memory may keep free at its end.
const KEPT_FREE: libc::c_int = 256 << 10;
/// Pools that the threads share; more of them only keep more pieces.
const POOLS: libc::c_int = 2;

/// Keeps the C library from holding freed memory; call it before the first thread starts. By default, the library takes
/// a large freed list as a sign of more to come: it then keeps up to 64 MiB at the end of each thread's pool, where
/// [`return_freed_memory`] cannot take it away.
#[allow(unsafe_code)]
pub fn keep_little_free() {
    // SAFETY: sets numbers of the allocator. A refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_FREE);
        libc::mallopt(libc::M_ARENA_MAX, POOLS);
    }
}

/// Gives freed memory back to the system. The C library keeps it for later, and after a large deployment that is more
/// than everything else.
#[allow(unsafe_code)]
pub fn return_freed_memory() {
    // SAFETY: takes the allocator's own locks; it moves and frees nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Unmaps the program's code and constants, which the agent does not need while it waits. They stay in the page cache,
/// and a page is mapped again when a thread uses it.
#[allow(unsafe_code)]
pub fn forget_program_pages() {
    // SAFETY: the callback matches the signature and gets no data of ours.
    unsafe { libc::dl_iterate_phdr(Some(forget_segments), std::ptr::null_mut()) };
}

/// Called for each mapped object, the program first; any result but zero ends the walk.
#[allow(unsafe_code)]
unsafe extern "C" fn forget_segments(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    _: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the C library passes a valid description, whose headers live as long as the object is mapped.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr as usize, std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)))
    };
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Ok(page) = usize::try_from(page) else { return 1 };
    // Never a writable segment: data that relocation or the program wrote there would be lost.
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        let start = (base + header.p_vaddr as usize).next_multiple_of(page);
        let end = (base + header.p_vaddr as usize + header.p_memsz as usize) / page * page;
        if start < end {
            // SAFETY: whole pages of a read-only private mapping of a file: they read the same when they are mapped
            // again. A refusal changes nothing.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// KiB of the program's own mappings that cannot be written to.
    fn program_kib() -> u64 {
        let program = fs::read_link("/proc/self/exe").unwrap();
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut counts = false;
        let mut kib = 0;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Rss:"), Some(number)) if counts => kib += number.parse::<u64>().unwrap(),
                (Some(first), Some(access)) if !first.ends_with(':') => {
                    counts = line.ends_with(program.to_str().unwrap()) && !access.contains('w');
                }
                _ => {}
            }
        }
        kib
    }

    /// KiB of memory that is no file's.
    fn anonymous_kib() -> u64 {
        let sums = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = sums.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn what_was_freed_goes_back_though_something_above_it_is_in_use() {
        let mut all: Vec<Vec<u8>> = (0..65_536).map(|_| vec![1; 1024]).collect();
        let last = all.pop();
        drop(all);
        let before = anonymous_kib();
        return_freed_memory();
        let after = anonymous_kib();
        assert!(after + 32 * 1024 < before, "{before} KiB before and {after} after");
        assert!(last.is_some());
    }

    #[test]
    fn a_large_list_that_is_freed_makes_nothing_stay_that_comes_after_it() {
        keep_little_free();
        drop(vec![1_u8; 30 << 20]);
        let before = anonymous_kib();
        let small = || drop((0..16_384).map(|_| vec![1_u8; 1024]).collect::<Vec<_>>());
        // Freed on a thread: its pool cannot be trimmed at the end as the main pool can.
        std::thread::spawn(small).join().unwrap();
        return_freed_memory();
        let after = anonymous_kib();
        assert!(after < before + 4 * 1024, "{before} KiB before and {after} after");
    }

    #[test]
    fn the_program_goes_on_with_few_of_its_pages() {
        let before = program_kib();
        forget_program_pages();
        let after = program_kib();
        assert!(after < before, "{before} KiB were mapped before and {after} after");
    }
}
