//! Which tokens of a batch have to be computed, so that none is computed twice.

use super::ops::Run;

/// A token sequence some of whose logits are wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sequence {
    /// All tokens to compute.
    pub tokens: Vec<u32>,
    /// The logits after this position and after all later ones are wanted.
    pub from: usize,
}

/// Tokens of several sequences to compute, each common beginning once.
#[derive(Debug, Default)]
pub(super) struct Prefill {
    /// The cache rows of each sequence, in order of position.
    pub rows: Vec<Vec<u32>>,
    /// New tokens: of sequence `.0`, those from position `.1` to position `.2`. They take consecutive rows of the cache.
    pub stretches: Vec<(usize, usize, usize)>,
    /// Wanted logits, in order of row: row, sequence, position.
    pub wanted: Vec<(u32, usize, usize)>,
}

impl Prefill {
    /// Plans sequences sorted by their tokens. The cache holds the first sequence's first `held` tokens in rows
    /// `0..held`, and nothing else.
    pub(super) fn plan(sequences: &[Sequence], held: usize) -> Self {
        let mut plan = Self::default();
        let mut next = held as u32;
        let mut path: Vec<u32> = (0..next).collect();
        let mut before: &[u32] = &sequences.first().map_or(&[][..], |first| &first.tokens)[..held];
        for (i, Sequence { tokens, from }) in sequences.iter().enumerate() {
            let shared = common(before, tokens);
            path.truncate(shared);
            let new = (tokens.len() - shared) as u32;
            path.extend(next..next + new);
            next += new;
            if new > 0 {
                plan.stretches.push((i, shared, tokens.len()));
            }
            plan.wanted.extend((*from..tokens.len()).map(|position| (path[position], i, position)));
            plan.rows.push(path.clone());
            before = tokens;
        }
        plan.wanted.sort_unstable();
        plan
    }

    /// The stretches in steps of at most `tokens` tokens, in order; long stretches are cut.
    pub(super) fn steps<'a>(&'a self, sequences: &'a [Sequence], tokens: usize) -> Vec<Vec<Run<'a>>> {
        let mut steps = vec![Vec::new()];
        let mut room = tokens;
        for &(i, mut start, end) in &self.stretches {
            while start < end {
                if room == 0 {
                    steps.push(Vec::new());
                    room = tokens;
                }
                let stop = end.min(start + room);
                let tokens = &sequences[i].tokens;
                let run = Run { tokens: &tokens[start..stop], rows: &self.rows[i][..stop], whole: tokens.len() };
                steps.last_mut().expect("there is a first step").push(run);
                room -= stop - start;
                start = stop;
            }
        }
        steps.retain(|step| !step.is_empty());
        steps
    }
}

/// How many tokens of `before`'s rows the sorted sequences that come next can take over.
///
/// Sorted neighbours have the longest common beginning, so what the first of the next sequences does not share, none
/// does. A row whose logits are wanted again is not taken over, because only its keys and values are kept.
pub(super) fn shared_with(before: &[u32], sequences: &[Sequence]) -> usize {
    let shared = sequences.first().map_or(0, |first| common(before, &first.tokens));
    sequences.iter().map(|sequence| sequence.from).fold(shared, usize::min)
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_a_common_beginning_once() {
        let sequence = |tokens: &[u32], from| Sequence { tokens: tokens.to_vec(), from };
        let sequences =
            [sequence(&[1, 2, 3], 2), sequence(&[1, 2, 3, 4], 2), sequence(&[1, 2, 5], 2), sequence(&[1, 2, 5], 2)];
        let plan = Prefill::plan(&sequences, 1);
        assert_eq!(plan.rows, [vec![0, 1, 2], vec![0, 1, 2, 3], vec![0, 1, 4], vec![0, 1, 4]]);
        assert_eq!(plan.stretches, [(0, 1, 3), (1, 3, 4), (2, 2, 3)]);
        assert_eq!(plan.wanted, [(2, 0, 2), (2, 1, 2), (3, 1, 3), (4, 2, 2), (4, 3, 2)]);
        let steps = plan.steps(&sequences, 3);
        assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(shared_with(&[1, 2, 3, 9], &sequences), 2);
    }
}
