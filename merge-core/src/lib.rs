//! Merges open language-model checkpoints and evolves merges.
//!
//! This crate is the engine of `evomerge`; the crate `evaluator` scores models on benchmarks, and `merge-cli` is the
//! command. It knows no benchmark and no terminal, and never prints.
//!
//! # Five ideas
//!
//! 1. **A merge is itself a model.** A [`checkpoint::Checkpoint`] (mapped from disk) and a [`merge::Merge`] (not computed
//!    yet) implement one trait, [`model::Weights`]. Export and evaluation are written once against it: a candidate is
//!    scored without being written, and the bytes scored are the bytes exported.
//! 2. **Every tensor's place is known before any tensor is read.** Names, types and shapes give shards, headers and offsets;
//!    whoever computes a tensor writes it at its offset ([`export`]).
//! 3. **A method looks, then works on any block.** [`method::Method::kernel`] sees whole tensors first, then returns a
//!    closure over stretches of `f32` that cannot fail. Blocks, widening and threads are the engine's. Beside its kernel each
//!    method has the same formula in candle's tensor operations, which is the kernel's oracle and runs on any device.
//! 4. **A search is a recipe with holes.** [`template::Template`] is a [`recipe::Recipe`] whose parameters may be holes;
//!    [`template::Template::fill`] turns a genome into an ordinary recipe that a person can read, share and run.
//! 5. **Asking is pure.** [`optimizer::Optimizer::ask`] draws from seed and generation, and scores are remembered by content
//!    ([`store`]). To go on after a crash is to ask again and look the scores up ([`study`]).
//!
//! # The map, in reading order: each room uses those before it
//!
//! | room | has |
//! |---|---|
//! | [`words`], [`environment`], [`mod@file`], [`error`], [`python_json`], [`vectors`], [`random`] | the ground floor |
//! | [`yaml`] | what people write, with the place of each mistake |
//! | [`optimizer`] | algorithms that propose numbers: CMA-ES, NSGA-II and others |
//! | [`model`] | a model as its tensors: [`model::Weights`], element types, layers, digests, comparisons |
//! | [`method`] | the formulas |
//! | [`checkpoint`], [`adapter`] | models and adapters on disk |
//! | [`recipe`] | how to merge |
//! | [`tokenizer`] | vocabularies and chat templates |
//! | [`merge`] | a recipe and its opened models become a merge: [`merge::Merge::plan`] |
//! | [`export`] | a model becomes a checkpoint on disk |
//! | [`template`], [`search`], [`baseline`] | a recipe with holes, how to fill them, and what a search must beat |
//! | [`item`], [`store`], [`study`] | a search, and its record |
//! | [`queue`] | jobs, and what becomes of them |
//!
//! # Words: one noun for one thing
//!
//! | word | is |
//! |---|---|
//! | model | anything with weights ([`model::Weights`]) |
//! | checkpoint | a model on disk |
//! | source | a model that a recipe names |
//! | adapter | a change of a model's tensors, trained beside it, such as a `LoRA` |
//! | tensor, element | a named array of numbers; one of them |
//! | layer, stack | one of a model's repeated blocks; all that follow each other |
//! | hop, path | a step through a layer; all steps that the hidden state takes |
//! | base | the model that differences are taken from |
//! | task vector | a model less the base |
//! | method | a formula that makes one tensor of several |
//! | kernel | a method's closure over a block of elements |
//! | parameter, setting | a number that a method takes; its value for one tensor |
//! | recipe | what to merge, and how |
//! | template, hole, choice | a recipe with something open; an open number; an open part |
//! | space, genome | the numbers to be found; one value for each |
//! | merge | a recipe and its sources, planned and not computed yet |
//! | tensor plan | how one tensor of a merge is made |
//! | export | a model written as a checkpoint |
//! | sidecar | a file beside a model's weights, such as its tokenizer |
//! | study | a search and its record |
//! | generation, candidate | one round of a search; a filled recipe in it |
//! | objective, goal | what is maximised; one task's part in it |
//! | item, split | one question of a task; the items to search, to select or to report on |
//! | score, fitness | the number of one answer; the number a candidate is ranked by |
//! | race, rung | scoring the better candidates on more items; one step of that |
//! | anchor | an item that stands for many |
//! | parent | a source that candidates are compared with |
//! | baseline | a merge that a search must beat |
//! | finalist, answer | a candidate that may be chosen; the one that was |
//! | store | what a study has learned, on disk |
//! | job, attempt, event | an entry of the queue; one run of it; a change of it |
//!
//! # Two ways through
//!
//! **One tensor's way.** `Checkpoint::open` maps shards and proves their headers; `Merge::plan` decides each output's sources
//! and parameters and makes every refusal; `export` lays out shards from lengths; then, in parallel, `tensor(name)` lets the
//! method look at whole tensors, and stretch by stretch the kernel runs over blocks (widen, merge, narrow, in cache), each
//! stretch being written at its offset; the whole is synced and gets its name last. No tensor is ever held whole.
//!
//! **One candidate's way.** `ask`, `fill`, `Merge::plan`, `Objective::score` on the items that are not remembered yet,
//! `Store::remember`; when the generation is whole, `tell`; at the end the answer is chosen on items the search has not used,
//! and reported on items that nothing has used.
//!
//! # Promises, each held by a test
//!
//! - Nothing is skipped with a warning: a recipe that cannot be done exactly as written is refused before a weight is read.
//! - The same recipe and seed give the same bytes, for any number of threads: random masks draw by counter ([`random`]), and
//!   sums over a tensor are taken in `f64`, block by block, in order.
//! - A crash at any instant loses at most the evaluations in flight, and the resumed search ends identical to an
//!   uninterrupted one. (On one kind of processor: the last bits of `exp` and of matrix products may differ between kinds.)
//! - A search never sees the items it is reported on.
//! - `method` sees numbers, not names or paths; `optimizer` sees genomes and fitness, not recipes; only `checkpoint`,
//!   `adapter` and `export` touch the files of models; only `store::database` knows sled.
#![doc = include_str!("../README.md")]

pub mod words;
pub mod environment;
pub mod file;
pub mod error;
pub mod python_json;
pub mod yaml;
pub mod vectors;
pub mod random;
pub mod optimizer;
pub mod model;
pub mod method;
pub mod checkpoint;
pub mod adapter;
pub mod recipe;
pub mod tokenizer;
pub mod merge;
pub mod export;
pub mod template;
pub mod search;
pub mod baseline;
pub mod item;
pub mod store;
pub mod study;
pub mod queue;
