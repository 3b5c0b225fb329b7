//! Plans the tokens that a batch has to compute, so that none is computed twice.

use super::compute::ops::TokenRun;
use crate::prompt::common;

/// A sequence of tokens, and the position of the first wanted logits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sequence {
    /// All tokens to compute.
    pub tokens: Vec<u32>,
    /// First position after which logits are wanted; they are wanted after all later ones too.
    pub from: usize,
}

/// Tokens that go through the decoder in one step.
#[derive(Debug, Default)]
pub(crate) struct PrefillStep<'a> {
    pub runs: Vec<TokenRun<'a>>,
    /// For each run, all tokens of its sequence up to the run's last one.
    pub beginnings: Vec<&'a [u32]>,
}

/// Tokens of several sequences to compute, each common beginning once.
#[derive(Debug, Default)]
pub(crate) struct Prefill {
    /// Cache rows of each sequence, in order of position.
    pub rows: Vec<Vec<u32>>,
    /// New tokens as (sequence, start, end) of positions. They take consecutive rows of the cache.
    pub stretches: Vec<(usize, usize, usize)>,
    /// Wanted logits as (row, sequence, position), in order of row.
    pub wanted: Vec<(u32, usize, usize)>,
}

impl Prefill {
    /// Plans sequences that are sorted by their tokens. The cache holds the first sequence's first
    /// `held` tokens in rows `0..held`, and nothing else.
    ///
    /// A held row has only keys and values: where its logits are wanted, it is computed again.
    pub(crate) fn plan(sequences: &[&Sequence], held: usize) -> Self {
        let mut plan = Self::default();
        let mut next = held as u32;
        let mut path: Vec<u32> = (0..next).collect();
        let mut before: &[u32] = &sequences.first().map_or(&[][..], |first| &first.tokens)[..held];
        for (i, Sequence { tokens, from }) in sequences.iter().enumerate() {
            let mut shared = common(before, tokens);
            if path[..shared].get(*from).is_some_and(|row| (*row as usize) < held) {
                shared = *from;
            }
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

    /// Divides the stretches into steps of at most `tokens` tokens, in order; long stretches are cut.
    pub(crate) fn steps<'a>(&'a self, sequences: &'a [&Sequence], tokens: usize) -> Vec<PrefillStep<'a>> {
        let mut steps = vec![PrefillStep::default()];
        let mut room = tokens;
        for &(i, mut start, end) in &self.stretches {
            while start < end {
                if room == 0 {
                    steps.push(PrefillStep::default());
                    room = tokens;
                }
                let stop = end.min(start + room);
                let tokens = &sequences[i].tokens;
                let run = TokenRun { tokens: &tokens[start..stop], rows: &self.rows[i][..stop], whole: tokens.len() };
                let step = steps.last_mut().expect("there is a first step");
                step.runs.push(run);
                step.beginnings.push(&tokens[..stop]);
                room -= stop - start;
                start = stop;
            }
        }
        steps.retain(|step| !step.runs.is_empty());
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_a_common_beginning_once() {
        let sequences = [&sequence(&[1, 2, 3], 2), &sequence(&[1, 2, 3, 4], 2), &sequence(&[1, 2, 5], 2)];
        let sequences = [sequences[0], sequences[1], sequences[2], sequences[2]];
        let plan = Prefill::plan(&sequences, 1);
        assert_eq!(plan.rows, [vec![0, 1, 2], vec![0, 1, 2, 3], vec![0, 1, 4], vec![0, 1, 4]]);
        assert_eq!(plan.stretches, [(0, 1, 3), (1, 3, 4), (2, 2, 3)]);
        assert_eq!(plan.wanted, [(2, 0, 2), (2, 1, 2), (3, 1, 3), (4, 2, 2), (4, 3, 2)]);
        let steps = plan.steps(&sequences, 3);
        assert_eq!(steps.iter().map(|step| step.runs.len()).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn computes_again_what_is_held_without_its_logits() {
        let sequences = [&sequence(&[1, 2, 3], 2), &sequence(&[1, 2, 3, 4], 1), &sequence(&[1, 2, 3, 5], 3)];
        let plan = Prefill::plan(&sequences, 3);
        assert_eq!(plan.rows, [vec![0, 1, 3], vec![0, 4, 5, 6], vec![0, 4, 5, 7]]);
        assert_eq!(plan.stretches, [(0, 2, 3), (1, 1, 4), (2, 3, 4)]);
        assert_eq!(plan.wanted, [(3, 0, 2), (4, 1, 1), (5, 1, 2), (6, 1, 3), (7, 2, 3)]);
    }

    fn sequence(tokens: &[u32], from: usize) -> Sequence {
        Sequence { tokens: tokens.to_vec(), from }
    }
}
