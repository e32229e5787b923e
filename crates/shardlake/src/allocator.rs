//! How the C library's allocator works in this process, so that memory stays near what is in use.
//!
//! Batches are filled on one thread and freed on another. By default glibc keeps such memory: it gives each
//! thread an arena of its own, and after the first large block was freed it takes large blocks from the arenas
//! too, where they leave holes. The snapshot of the benchmark then peaks at 276 MB with 141 MB in use; with
//! these settings at 228 MB, at the same cost (`make bench`).

/// Blocks from this size on are mapped by themselves, so that freeing them gives their memory back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES_MIN: i32 = 1 << 20;
/// As many arenas as there are threads that decode or encode at the same time on two cores.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS_MAX: i32 = 2;

/// Sets the allocator up. Called first, while there is one thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn keep_memory_small() {
    let settings = [
        (libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN),
        (libc::M_TRIM_THRESHOLD, MAPPED_BYTES_MIN),
        (libc::M_ARENA_MAX, ARENAS_MAX),
    ];
    for (parameter, value) in settings {
        #[expect(unsafe_code, reason = "mallopt only sets a number, and no other thread runs yet")]
        // SAFETY: `mallopt` takes two integers and has no further conditions; an unknown parameter is ignored.
        let _is_known = unsafe { libc::mallopt(parameter, value) };
    }
}

/// Other allocators stay as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_memory_small() {}
