//! As many heaps as there are cores: what a thread frees is used again by the next one.
//!
//! glibc's allocator makes up to eight heaps for each core, and each keeps what its largest moment took: a search, whose candidates
//! come and go in many threads, held twice and more the memory of its candidates. With a single heap the threads wait for each other.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's allocator can be told in no other way")]
pub(crate) fn share() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // SAFETY: this is a number of the allocator, set before there is another thread. If it does not take it, nothing is wrong but
    // what memory it keeps.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, i32::try_from(cores).unwrap_or(1));
    }
}

/// Other allocators are not known to keep so much.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn share() {}
