//! What is freed is used again, by whichever thread asks next.
//!
//! glibc's allocator gives each thread a heap of its own, and each keeps what its largest moment took: a search, whose candidates
//! come and go in many threads, held twice and more the memory of its candidates.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's allocator can be told in no other way")]
pub(crate) fn share() {
    // SAFETY: this is a number of the allocator, set before there is another thread. If it does not take it, nothing is wrong but
    // what memory it keeps.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Other allocators are not known to keep so much.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn share() {}
