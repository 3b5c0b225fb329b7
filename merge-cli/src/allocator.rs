//! Limits the C library's allocator to one heap for each core, so that threads reuse freed memory.
//!
//! glibc makes up to eight for each core, and each keeps its largest size. A search, which creates
//! candidates in many threads, then takes over twice their memory. A single heap would block threads.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's allocator can be told in no other way")]
pub(crate) fn share() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // SAFETY: sets a number of the allocator before another thread exists. If the allocator
    // refuses it, the process only keeps more memory.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, i32::try_from(cores).unwrap_or(1));
    }
}

/// Does nothing: other allocators are not known to keep so much.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn share() {}
