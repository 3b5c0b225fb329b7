//! Own time measurements next to divan's, so that one median can be divided by another.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

static SAMPLES: Mutex<BTreeMap<String, Vec<Duration>>> = Mutex::new(BTreeMap::new());

/// Runs some work, and records its time under a name.
pub(crate) fn timed<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    let took = began.elapsed();
    SAMPLES.lock().expect("no panic while held").entry(name.to_owned()).or_default().push(took);
    done
}

/// Median time of a name, in seconds; `None` if the command line excluded it.
pub(crate) fn median(name: &str) -> Option<f64> {
    let mut times = SAMPLES.lock().expect("no panic while held").get(name)?.clone();
    times.sort_unstable();
    Some(times[times.len() / 2].as_secs_f64())
}
