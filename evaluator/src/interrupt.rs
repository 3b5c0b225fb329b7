//! Whether to stop: asked between two steps of a model, so that nobody waits for the end of a long answer.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Says whether to stop; by default never.
#[derive(Clone, Default)]
pub struct Interrupt(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Interrupt {
    /// Asks this each time, from the thread that computes: it should be quick.
    pub fn new(ask: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    /// Whether to stop now.
    pub fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|ask| ask())
    }
}

impl From<&Arc<AtomicBool>> for Interrupt {
    /// To stop when the flag is set.
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
