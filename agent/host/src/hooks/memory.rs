//! What a supervisor that waits for hours keeps in memory.

use nix::libc;

/// Unmaps the program's code and constants: what starting needed is not needed for waiting. They stay in the page
/// cache, and a page that is used again is mapped again.
#[allow(unsafe_code)]
pub(super) fn forget_program_pages() {
    // SAFETY: the callback matches the signature and gets no data of ours.
    unsafe { libc::dl_iterate_phdr(Some(forget_segments), std::ptr::null_mut()) };
}

/// Called for each object that is mapped, the program first; not zero ends it there.
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
    // Never a segment that may be written to: what relocation or the program wrote there would be lost.
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
