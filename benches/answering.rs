//! Time to answer items, and to merge and to score a candidate of `recipes/sansu`, on one thread.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod samples;

use candle_core::Device;
use divan::{Bencher, black_box, counter::ItemsCount};
use evaluator::{
    answer::Transformer,
    language_model::answers,
    objective::Benchmarks,
    request::Request,
    task::{self, Benchmark, Fractions, Split, Task as _},
};
use merge_core::{
    checkpoint::Checkpoint,
    merge::{
        Merge,
        sources::{FilesOnly, Sources},
    },
    model::Weights as _,
    recipe::Recipe,
    search::{Items, SearchFile},
    study::{Candidate, Objective as _},
};
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

fn main() {
    divan::main();
    if let (Some(merging), Some(scoring)) = (samples::median("merge"), samples::median("score")) {
        println!(
            "merging a candidate takes {:.1} % of scoring it on {N_SCORED} items ({:.1} ms of {:.0} ms)",
            100.0 * merging / scoring,
            1e3 * merging,
            1e3 * scoring
        );
    }
}

/// Number of prompts that fills most of a batch.
const N_ANSWERED: usize = 200;
/// Number of items on which a generation of `recipes/sansu/search.yaml` scores a candidate.
const N_SCORED: usize = 30;

/// A model that reads Japanese answers word problems.
#[divan::bench(sample_count = 15, sample_size = 1)]
fn answer(bencher: Bencher<'_, '_>) {
    let task = task("mgsm-ja-mini.yaml");
    let requests: Vec<Request> = task.requests(&task.split(Split::Search)[..N_ANSWERED]);
    let checkpoint = Checkpoint::open(&family().join("ja")).expect("the repository has it");
    let mut model = Transformer::load(&checkpoint, &Device::Cpu).expect("the repository has it");
    let work = || one_thread(|| answers(&mut model, &requests).expect("it answers"));
    bencher.counter(ItemsCount::new(N_ANSWERED)).bench_local(work);
}

/// Merges all tensors of a candidate.
#[divan::bench(sample_count = 15, sample_size = 1)]
fn merge(bencher: Bencher<'_, '_>) {
    let (recipe, sources) = candidate();
    let work = || {
        samples::timed("merge", || {
            let merge = Merge::plan(&recipe, &sources).expect("they fit together");
            for name in merge.index().keys() {
                black_box(merge.bytes(name).expect("finite weights"));
            }
        });
    };
    bencher.bench_local(|| one_thread(work));
}

/// Scores a candidate on a generation's items, starting from its recipe, as a search does.
#[divan::bench(sample_count = 15, sample_size = 1)]
fn score(bencher: Bencher<'_, '_>) {
    let (recipe, sources) = candidate();
    let mut benchmarks = Benchmarks::new(Device::Cpu);
    benchmarks
        .maximise(task("mgsm-ja-likelihood.yaml"), 1.0, Items { from: N_SCORED, to: N_SCORED })
        .expect("it has items enough");
    let asked = [benchmarks.goals()[0].search[..N_SCORED].to_vec()];
    let work = || {
        samples::timed("score", || {
            let candidate = Candidate::merged(recipe.clone(), &sources);
            let listener = &mut |scores| {
                black_box(scores);
                Ok(ControlFlow::Continue(()))
            };
            benchmarks.score(&candidate, &asked, listener).expect("it answers");
        });
    };
    bencher.counter(ItemsCount::new(N_SCORED)).bench_local(|| one_thread(work));
}

fn one_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread can be started");
    pool.install(work)
}

fn family() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/sansu")
}

fn task(name: &str) -> Benchmark {
    task::read(&family().join("tasks").join(name), Fractions::default()).expect("the repository has it")
}

/// First candidate of the search of `recipes/sansu`.
fn candidate() -> (Recipe, Sources) {
    let template = SearchFile::read(&family().join("search.yaml")).expect("the repository has it").template;
    let sources = Sources::open_all(template.variants(), &[], &FilesOnly).expect("the repository has them");
    let space = template.space(&sources).expect("there are layers enough");
    (template.fill(&space, &space.init()), sources)
}
