//! Work that could end the program, because a library recurses or panics on what a user gave it: it ends in an error instead.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
    thread,
};

/// Only what is touched takes memory. What recurses here is limited, to less than this pays for.
const STACK: usize = 256 << 20;

thread_local! {
    /// Whether this thread has a large stack.
    static IS_DEEP: Cell<bool> = const { Cell::new(false) };
    /// Whether what panics on this thread is said by an error, and by nobody else.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives, done on a stack for deep recursion.
///
/// A thread is started for it, unless this one has such a stack: work of many small pieces should be given whole.
///
/// # Panics
/// If `work` does, or if the machine starts no thread.
pub(crate) fn deep<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if IS_DEEP.get() {
        return work();
    }
    let work = || {
        IS_DEEP.set(true);
        work()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let done = thread.expect("a machine that starts no thread can do nothing here").join();
        done.unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// What `work` gives, or the words with which it panics. What it was changing is not to be used after that.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |news| {
            if !IS_QUIET.get() {
                usual(news);
            }
        }));
    });
    let before = IS_QUIET.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    IS_QUIET.set(before);
    done.map_err(|panic| words(&*panic))
}

/// What a panic says, on one line.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{caught, deep};

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        assert_eq!(caught(|| [0u8].get(1).copied().expect("a byte")), Err("a byte".to_owned()));
        assert_eq!(caught(|| panic!("{} of\n 3", 2)), Err::<(), _>("2 of 3".to_owned()));
        assert_eq!(caught(|| 1), Ok(1));
    }

    #[test]
    fn what_recurses_has_room() {
        fn depth(left: u32) -> u32 {
            let room = std::hint::black_box([left; 64]);
            if left == 0 { room[0] } else { depth(left - 1) + 1 }
        }
        assert_eq!(deep(|| deep(|| depth(100_000))), 100_000);
    }
}
