//! A stop signal that is checked between two steps of a model, so that nobody waits for a long answer to end.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Stop signal. The default never stops.
#[derive(Clone, Default)]
pub struct Interrupt(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Interrupt {
    /// An interrupt that calls `ask` for each check, in the thread that computes: `ask` should be quick.
    pub fn new(ask: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    /// True if the work must stop now.
    pub fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|ask| ask())
    }
}

impl From<&Arc<AtomicBool>> for Interrupt {
    /// An interrupt that stops when the flag is set.
    fn from(flag: &Arc<AtomicBool>) -> Self {
        let flag = Arc::clone(flag);
        Self::new(move || flag.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interrupt").field(&self.is_set()).finish()
    }
}
