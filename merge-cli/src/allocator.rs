//! What is large goes back to the system as soon as it is freed.
//!
//! glibc's allocator learns from the first large block that is freed to keep such blocks, and each thread keeps its own: a search,
//! whose candidates come and go in many threads, held twice and more the memory of its candidates.

/// Blocks of so many bytes and more are the system's; to take and to give one costs little beside what is computed in it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 256 << 10;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's allocator can be told in no other way")]
pub(crate) fn give_back() {
    // SAFETY: this is a number of the allocator, set before there is another thread. If it does not take it, nothing is wrong but
    // what memory it keeps.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Other allocators are not known to keep so much.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
