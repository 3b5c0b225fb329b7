//! Softmax attention on a CPU as matrix products: of queries and keys, and of weights and values.
//!
//! Keys and values that many queries see are laid out for products once. Each score is one sum over the head, and each
//! element of the result one sum over the keys seen, in order of position: no result depends on the other queries.

use super::{
    kernel,
    ops::{StepRuns, TokenRun},
    product::ProductShare,
    tile::{F32Weights, PANEL},
};
use crate::model::config::{Attention, Heads};
use merge_core::vectors::wide;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// Most tokens whose keys and values are laid out together.
const TOKENS: usize = 64;
/// Number of queries whose scores fit the second-level cache.
const QUERIES: usize = 20;
/// Fewest rows in common that make runs a group: fewer are not worth the division of their sums.
const COMMON: usize = 32;

/// Adds the attention of each wanted token to `out`. `fused`: `(tokens, fused)`, which begins with the queries;
/// `cache`: `(rows, 2 · kv heads · size)`, keys, then values; `out`: `(wanted, query heads · size)`, zeros.
pub(crate) fn attend(fused: &[f32], cache: &[f32], seen: StepRuns<'_>, out: &mut [f32]) {
    let StepRuns { runs, wanted, attention } = seen;
    let heads = attention.heads;
    let queries = queries(runs, wanted, attention.window);
    let mut rest = &queries[..];
    let mut outs = out.chunks_mut(heads.size);
    let mut tasks = Vec::new();
    for (group, common) in run_groups(runs) {
        let (of_group, others) = rest.split_at(rest.partition_point(|query| query.run < group.end));
        rest = others;
        let shared = &runs[group.start].rows[..common];
        for queries in of_group.chunks(TOKENS) {
            let first = tasks.len();
            tasks.extend((0..heads.kv).map(|kv| AttentionTask { queries, shared, kv, outs: Vec::new() }));
            for _ in queries {
                for task in &mut tasks[first..] {
                    task.outs.extend(outs.by_ref().take(heads.query / heads.kv));
                }
            }
        }
    }
    let step = Step { fused, cache, runs, attention };
    tasks.into_par_iter().for_each_init(AttentionBuffers::default, |buffers, task| step.attend(task, buffers));
}

/// A token whose attention is wanted.
#[derive(Clone, Copy, Debug)]
struct Query {
    /// Its number in the step.
    token: usize,
    /// Number of its run.
    run: usize,
    /// First position that it sees.
    from: usize,
    /// Position after the last one that it sees.
    to: usize,
}

fn queries(runs: &[TokenRun<'_>], wanted: Option<&[u32]>, window: Option<usize>) -> Vec<Query> {
    let seen =
        runs.iter().enumerate().flat_map(|(run, of)| (of.position() + 1..=of.rows.len()).map(move |to| (run, to)));
    let from = |to: usize| window.map_or(0, |window| to.saturating_sub(window));
    let all = seen.enumerate().map(|(token, (run, to))| Query { token, run, from: from(to), to });
    match wanted {
        None => all.collect(),
        Some(wanted) => {
            let all: Vec<Query> = all.collect();
            wanted.iter().map(|token| all[*token as usize]).collect()
        }
    }
}

/// Groups of neighbouring runs that have most rows in common, and the number of these; a run alone has all.
fn run_groups(runs: &[TokenRun<'_>]) -> Vec<(Range<usize>, usize)> {
    let mut groups: Vec<(Range<usize>, usize)> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        if let Some((group, common)) = groups.last_mut() {
            let before = runs[group.start].rows;
            let same = before[..*common].iter().zip(run.rows).take_while(|(a, b)| a == b).count();
            if same >= COMMON && 2 * same >= run.rows.len().max(*common) {
                group.end = i + 1;
                *common = same;
                continue;
            }
        }
        groups.push((i..i + 1, run.rows.len()));
    }
    groups
}

/// Some tokens of a group, and the key and value head that they attend to.
struct AttentionTask<'a> {
    queries: &'a [Query],
    shared: &'a [u32],
    kv: usize,
    outs: Vec<&'a mut [f32]>, // queries and their heads, each (size)
}

/// Buffers that a thread reuses for its next task.
#[derive(Default)]
struct AttentionBuffers {
    shared: PackedRows,
    own: PackedRows,
    scores: Vec<f32>, // (queries and their heads, positions)
}

struct Step<'a> {
    fused: &'a [f32],
    cache: &'a [f32],
    runs: &'a [TokenRun<'a>],
    attention: Attention,
}

impl Step<'_> {
    fn attend(&self, task: AttentionTask<'_>, buffers: &mut AttentionBuffers) {
        let AttentionTask { queries, shared, kv, mut outs } = task;
        let heads = self.attention.heads;
        let group = heads.query / heads.kv;
        let from = queries.iter().map(|query| query.from).min().unwrap_or(0);
        let to = queries.iter().map(|query| query.to).max().unwrap_or(0);
        let common = to.min(shared.len()).max(from);
        buffers.shared.pack(self.cache, shared.get(from..common).unwrap_or_default(), kv, heads);
        // Run whose own rows are packed.
        let mut packed = None;
        let tokens = (QUERIES / group).max(1);
        for (queries, outs) in queries.chunks(tokens).zip(outs.chunks_mut(tokens * group)) {
            let width = queries.iter().map(|query| query.to).max().unwrap_or(0) - from;
            let AttentionBuffers { shared, own, scores } = &mut *buffers;
            scores.clear();
            scores.resize(outs.len() * width, 0.0);
            let mut rows: Vec<&mut [f32]> = scores.chunks_mut(width).collect();
            let x: Vec<&[f32]> = queries.iter().flat_map(|query| self.heads(query.token, kv)).collect();
            let len = width.min(common - from);
            shared.score(&x, rows.iter_mut().map(|row| &mut row[..len]).collect());
            let ranges: Vec<Range<usize>> = queries
                .iter()
                .flat_map(|query| std::iter::repeat_n(query.from - from..query.to - from, group))
                .collect();
            if width == len {
                let sums = self.weights(&mut rows, &ranges);
                shared.weigh(&rows, &ranges, 0..len, outs);
                divide(outs, &sums);
                continue;
            }
            // Rows that are not shared belong to one run at a time.
            let mut first = 0;
            for queries in queries.chunk_by(|a, b| a.run == b.run) {
                let places = first..first + queries.len() * group;
                first = places.end;
                let run = queries[0].run;
                if packed != Some(run) {
                    let own_rows = &self.runs[run].rows[..to.min(self.runs[run].rows.len())];
                    own.pack(self.cache, own_rows.get(common..).unwrap_or_default(), kv, heads);
                    packed = Some(run);
                }
                let (rows, outs) = (&mut rows[places.clone()], &mut outs[places.clone()]);
                let ranges = &ranges[places.clone()];
                let end = ranges.iter().map(|range| range.end).max().unwrap_or(0).max(len);
                own.score(&x[places], rows.iter_mut().map(|row| &mut row[len..end]).collect());
                let sums = self.weights(rows, ranges);
                shared.weigh(rows, ranges, 0..len, outs);
                own.weigh(rows, ranges, len..end, outs);
                divide(outs, &sums);
            }
        }
    }

    /// A token's queries of the heads that share key and value head `kv`.
    fn heads(&self, token: usize, kv: usize) -> impl Iterator<Item = &[f32]> {
        let heads = self.attention.heads;
        let group = heads.query / heads.kv * heads.size;
        let start = token * heads.fused_len() + kv * group;
        self.fused[start..start + group].chunks(heads.size)
    }

    /// Turns the scores in each row's range into exponentials, and all others into zeros; returns the rows' sums.
    fn weights(&self, rows: &mut [&mut [f32]], ranges: &[Range<usize>]) -> Vec<f32> {
        let Attention { scale, cap, .. } = self.attention;
        let mut sums = vec![0.0; rows.len()];
        wide(
            #[inline(always)]
            || {
                for ((row, range), sum) in rows.iter_mut().zip(ranges).zip(&mut sums) {
                    let scores = &mut row[range.clone()];
                    for score in scores.iter_mut() {
                        *score *= scale;
                    }
                    if let Some(cap) = cap {
                        kernel::soft_cap(scores, cap);
                    }
                    *sum = kernel::exponentials(scores);
                    row[..range.start].fill(0.0);
                    row[range.end..].fill(0.0);
                }
            },
        );
        sums
    }
}

/// Divides each row by its sum. Adding 0 turns -0 into 0: the sign of zero may depend on other queries.
fn divide(outs: &mut [&mut [f32]], sums: &[f32]) {
    for (out, sum) in outs.iter_mut().zip(sums) {
        for x in out.iter_mut() {
            *x = (*x + 0.0) / sum;
        }
    }
}

/// Rows of one key and value head, laid out for products.
#[derive(Default)]
struct PackedRows {
    keys: Vec<F32Weights>,   // (panels of rows, size)
    values: Vec<F32Weights>, // (panels of the head, rows)
    rows: usize,
    size: usize,
    /// True if all values are finite: a weight of zero then adds nothing.
    finite: bool,
}

impl PackedRows {
    fn pack(&mut self, cache: &[f32], rows: &[u32], kv: usize, heads: Heads) {
        let Heads { size, .. } = heads;
        let (len, panels) = (rows.len(), size.div_ceil(PANEL));
        (self.rows, self.size, self.finite) = (len, size, true);
        // Old numbers stay in places without a row or an element; no result uses them.
        self.keys.resize(len.div_ceil(PANEL) * size, F32Weights([0.0; PANEL]));
        self.values.resize(panels * len, F32Weights([0.0; PANEL]));
        let head = |row: u32, place: usize| {
            let start = row as usize * 2 * heads.kv_len() + place * size;
            &cache[start..start + size]
        };
        for (panel, rows) in self.keys.chunks_mut(size).zip(rows.chunks(PANEL)) {
            for (i, row) in rows.iter().enumerate() {
                for (keys, key) in panel.iter_mut().zip(head(*row, kv)) {
                    keys.0[i] = *key;
                }
            }
        }
        for (i, row) in rows.iter().enumerate() {
            let values = head(*row, heads.kv + kv);
            self.finite &= values.iter().fold(true, |finite, x| finite & x.is_finite());
            for (panel, values) in values.chunks(PANEL).enumerate() {
                self.values[panel * len + i].0[..values.len()].copy_from_slice(values);
            }
        }
    }

    /// Products of queries and keys. `x`: each `(size)`; `scores`: zeros, as many rows, each for the first keys.
    fn score(&self, x: &[&[f32]], scores: Vec<&mut [f32]>) {
        ProductShare { x: x.to_vec(), w: &self.keys, stride: self.size, y: scores }.multiply(Arch::new());
    }

    /// Adds weighted values of rows `places`. `weights`: zero outside `ranges`; `outs`: as many rows, each `(size)`.
    fn weigh(&self, weights: &[&mut [f32]], ranges: &[Range<usize>], places: Range<usize>, outs: &mut [&mut [f32]]) {
        let weigh = |x: Vec<&[f32]>, first: usize, outs: Vec<&mut [f32]>| {
            let w = self.values.get(first..).unwrap_or_default();
            ProductShare { x, w, stride: self.rows, y: outs }.multiply(Arch::new());
        };
        if self.finite {
            let x = weights.iter().map(|row| &row[places.clone()]).collect();
            return weigh(x, 0, outs.iter_mut().map(|out| &mut **out).collect());
        }
        for ((row, range), out) in weights.iter().zip(ranges).zip(outs) {
            let (start, end) = (range.start.max(places.start), range.end.min(places.end));
            if start < end {
                weigh(vec![&row[start..end]], start - places.start, vec![out]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let number = |i: usize| (i as u32 + 1).wrapping_mul(2_654_435_761).wrapping_mul(seed) >> 8;
        (0..count).map(|i| number(i) as f32 / (1 << 22) as f32 - 2.0).collect()
    }

    fn attended(fused: &[f32], cache: &[f32], runs: &[TokenRun<'_>], attention: Attention) -> Vec<u32> {
        let tokens: usize = runs.iter().map(|run| run.tokens.len()).sum();
        let mut out = vec![0.0; tokens * attention.heads.query_len()];
        attend(fused, cache, StepRuns { runs, wanted: None, attention }, &mut out);
        out.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn tokens_do_not_depend_on_each_other() {
        let own = |from: u32, to: u32| (0..200).chain(from..to).collect::<Vec<u32>>();
        let (long, fork, other, apart) =
            (own(200, 290), own(300, 320), own(330, 331), (340..400).collect::<Vec<u32>>());
        let run = |rows, tokens| TokenRun { tokens: &[0; 90][..tokens], rows, whole: 0 };
        let runs = [run(&long, 90), run(&fork, 7), run(&other, 1), run(&long[..50], 1), run(&apart, 60)];
        for (query, kv, size) in [(6, 2, 40), (4, 4, 32), (24, 1, 6)] {
            let heads = Heads { query, kv, size };
            let fused = numbers(159 * heads.fused_len(), 3);
            let mut cache = numbers(400 * 2 * heads.kv_len(), 5);
            for broken in [None, Some(280), Some(386)] {
                if let Some(row) = broken {
                    cache[row * 2 * heads.kv_len() + heads.kv_len() + 1] = f32::INFINITY;
                }
                for window in [None, Some(3), Some(70)] {
                    let attention = Attention { heads, scale: 0.2, cap: None, window };
                    let together = attended(&fused, &cache, &runs, attention);
                    let each = runs.iter().flat_map(|of| (of.position() + 1..=of.rows.len()).map(|to| &of.rows[..to]));
                    let alone = each.zip(fused.chunks(heads.fused_len()));
                    let alone = alone.flat_map(|(rows, fused)| attended(fused, &cache, &[run(rows, 1)], attention));
                    assert!(alone.eq(together), "{heads:?}, {window:?}, {broken:?}");
                }
            }
        }
    }
}
