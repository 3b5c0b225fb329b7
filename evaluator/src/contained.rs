//! Turns panics and deep recursion of libraries, caused by a user's input, into errors that do not end the program.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
    thread,
};

/// Bytes of stack. Untouched pages take no memory. Recursion here is limited so that it needs less.
const STACK: usize = 256 << 20;

thread_local! {
    /// True if this thread has a large stack.
    static IS_DEEP: Cell<bool> = const { Cell::new(false) };
    /// True while a panic on this thread is reported by an error alone.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a stack for deep recursion, and returns its result.
///
/// Starts a thread, unless this one already has such a stack: pass many small pieces of work as one.
///
/// # Panics
/// If `work` panics, or if the machine starts no thread.
pub(crate) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
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

/// The result of `work`, or the message of its panic. Data that it was changing must not be used after a panic.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
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

/// Message of a panic, on one line.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{catch_panic, on_deep_stack};

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        assert_eq!(catch_panic(|| [0u8].get(1).copied().expect("a byte")), Err("a byte".to_owned()));
        assert_eq!(catch_panic(|| panic!("{} of\n 3", 2)), Err::<(), _>("2 of 3".to_owned()));
        assert_eq!(catch_panic(|| 1), Ok(1));
    }

    #[test]
    fn what_recurses_has_room() {
        fn depth(left: u32) -> u32 {
            let room = std::hint::black_box([left; 64]);
            if left == 0 { room[0] } else { depth(left - 1) + 1 }
        }
        assert_eq!(on_deep_stack(|| on_deep_stack(|| depth(100_000))), 100_000);
    }
}
