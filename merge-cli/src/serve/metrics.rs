//! Metrics of the queue in the format of Prometheus.

use super::{machine, service::Service};
use merge_core::queue::JobState;
use prometheus_client::{
    encoding::text::encode,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use std::sync::atomic::AtomicU64;

type Labels = Vec<(&'static str, String)>;
type Numbers = Family<Labels, Gauge<f64, AtomicU64>>;

/// The present metrics as text.
pub(super) fn text(service: &Service) -> String {
    let (jobs, server) = (service.jobs(), service.server());
    let mut registry = Registry::with_prefix("evomerge");
    let family = |name: &str, help: &str, unit: Option<Unit>, registry: &mut Registry| {
        let numbers = Numbers::default();
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, numbers.clone()),
            None => registry.register(name, help, numbers.clone()),
        }
        numbers
    };
    let states = family("jobs", "Jobs by state", None, &mut registry);
    for state in JobState::ALL {
        let n = jobs.iter().filter(|job| job.state == state).count();
        states.get_or_create(&vec![("state", state.name().to_owned())]).set(n as f64);
    }
    let quarantined =
        family("jobs_quarantined", "Failed jobs that failed the same way again and again", None, &mut registry);
    quarantined.get_or_create(&Vec::new()).set(jobs.iter().filter(|job| job.quarantined).count() as f64);
    let slots = family("slots", "Jobs that may run side by side", None, &mut registry);
    slots.get_or_create(&Vec::new()).set(server.slots as f64);
    let memory = family("memory", "Memory that jobs may use together", Some(Unit::Bytes), &mut registry);
    memory.get_or_create(&Vec::new()).set(server.memory as f64);
    if let Some(free) = machine::free(service.home.path()) {
        let disk = family("disk_free", "Free where jobs write", Some(Unit::Bytes), &mut registry);
        disk.get_or_create(&Vec::new()).set(free as f64);
    }
    let ran =
        family("job_ran", "How long a running job has run, all attempts together", Some(Unit::Seconds), &mut registry);
    let done = family("job_progress_ratio", "How much of a running job is done", None, &mut registry);
    let rate = family("job_rate", "Items, bytes or answers of a running job in a second", None, &mut registry);
    let best =
        family("job_best_fitness", "The best fitness of a running search's last generation", None, &mut registry);
    for job in jobs.iter().filter(|job| job.state == JobState::Running) {
        let labels = vec![("job", job.id.to_string()), ("kind", job.kind.name().to_owned())];
        ran.get_or_create(&labels).set(job.seconds);
        let Some(progress) = &job.progress else { continue };
        if let Some(value) = progress.share {
            done.get_or_create(&labels).set(value);
        }
        if let Some(value) = progress.rate {
            rate.get_or_create(&labels).set(value);
        }
        if let Some(value) = progress.best {
            best.get_or_create(&labels).set(value);
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes all that is written");
    text
}
