//! Computes one batch of sequences: scores continuations, and generates answers side by side.

use super::{
    Transformer,
    question::{Outcome, Purpose, SequenceJob},
};
use crate::{
    model::{
        compute::{kernel, ops::TokenRun},
        decoder::Cache,
        prefill::{Prefill, Sequence},
    },
    prompt::common,
    request::Said,
};
use merge_core::error::Result;

/// A sequence and the rows of the cache that it sees.
#[derive(Debug, Default)]
pub(crate) struct CachedSequence {
    tokens: Vec<u32>,
    rows: Vec<u32>,
}

/// Outcome of a job so far.
#[derive(Debug)]
struct JobOutcome {
    outcome: Outcome,
    finished: bool,
}

/// A sequence that generates.
#[derive(Debug)]
struct GrowingSequence<'a> {
    /// Number of its job in the batch.
    job: usize,
    stop: &'a [String],
    /// Most tokens to generate: never more than the context has room for.
    limit: usize,
    rows: Vec<u32>,
    generated: Vec<u32>,
}

impl Transformer {
    /// Computes sorted jobs, reusing rows that they share with the sequence `before`. Returns the
    /// outcome of each job (`None` if an interrupt came first), and the last sequence of the batch.
    ///
    /// Sorted neighbours have the longest common beginning: rows that the first job does not share
    /// with the last one of the batch before, no job does.
    pub(crate) fn answer_batch(
        &mut self,
        cache: &mut Cache,
        jobs: &[&SequenceJob<'_>],
        before: &CachedSequence,
    ) -> Result<(Vec<Option<Outcome>>, CachedSequence)> {
        let sequences: Vec<&Sequence> = jobs.iter().map(|job| &job.sequence).collect();
        let held = sequences.first().map_or(0, |first| common(&before.tokens, &first.tokens));
        let mut plan = Prefill::plan(&sequences, held);
        let room: usize = plan.stretches.iter().map(|(_, start, end)| end - start).sum();
        let growth: usize = jobs.iter().map(|job| job.growth()).sum();
        cache.keep(&before.rows[..held], held + room + growth)?;
        let mut slots: Vec<JobOutcome> =
            jobs.iter().map(|job| JobOutcome { outcome: job.outcome(), finished: false }).collect();
        let mut growing = self.read(cache, jobs, &sequences, &plan, &mut slots)?;
        while !growing.is_empty() && !self.interrupt.is_set() {
            growing = self.grow(cache, growing, &mut slots)?;
        }
        let outcomes = slots.into_iter().map(|slot| slot.finished.then_some(slot.outcome)).collect();
        let tokens = sequences.last().map_or_else(Vec::new, |last| last.tokens.clone());
        Ok((outcomes, CachedSequence { tokens, rows: plan.rows.pop().unwrap_or_default() }))
    }

    /// Computes the new tokens of the sequences; scores continuations, and returns the sequences that generate.
    fn read<'a>(
        &mut self,
        cache: &mut Cache,
        jobs: &[&SequenceJob<'a>],
        sequences: &[&Sequence],
        plan: &Prefill,
        slots: &mut [JobOutcome],
    ) -> Result<Vec<GrowingSequence<'a>>> {
        let mut first_tokens = Vec::new();
        let mut wanted = &plan.wanted[..];
        for step in plan.steps(sequences, self.batch.tokens) {
            if self.interrupt.is_set() {
                break;
            }
            let first = cache.len() as u32;
            let end = first + step.runs.iter().map(|run| run.tokens.len() as u32).sum::<u32>();
            let (now, later) = wanted.split_at(wanted.partition_point(|(row, ..)| *row < end));
            // Several sequences may want the same row.
            let by_row: Vec<_> = now.chunk_by(|a, b| a.0 == b.0).collect();
            let rows: Vec<u32> = by_row.iter().map(|of_row| of_row[0].0 - first).collect();
            self.network.computed += (end - first) as usize;
            let hidden = self.network.decoder.read(cache, &step, &rows)?; // (wanted, hidden)
            self.network.each_logits(&hidden, |i, logits| {
                let likeliest = likeliest(logits);
                let mut log_sum = None;
                for &(_, job, position) in by_row[i] {
                    match &jobs[job].purpose {
                        Purpose::Generate { .. } => first_tokens.push((job, likeliest)),
                        Purpose::Score { targets } => {
                            let target = targets[position - jobs[job].sequence.from];
                            let log_sum = *log_sum.get_or_insert_with(|| kernel::log_sum_exp(logits));
                            let log_likelihood = f64::from(logits[target as usize]) - log_sum;
                            let JobOutcome { outcome, finished } = &mut slots[job];
                            *finished = position + 1 == jobs[job].sequence.tokens.len();
                            outcome.broken |= likeliest.is_none();
                            if let Said::Likelihoods(sums) = &mut outcome.said {
                                // A broken candidate finds every choice impossible; NaN would spoil its ranking.
                                sums[0].log += if log_likelihood.is_nan() { f64::NEG_INFINITY } else { log_likelihood };
                                sums[0].greedy &= likeliest == Some(target);
                            }
                        }
                    }
                }
            })?;
            wanted = later;
        }
        let mut growing = Vec::with_capacity(first_tokens.len());
        for (job, token) in first_tokens {
            let Purpose::Generate { stop, limit } = jobs[job].purpose else { continue };
            let sequence = GrowingSequence { job, stop, limit, rows: plan.rows[job].clone(), generated: Vec::new() };
            growing.extend(self.push(sequence, token, slots)?);
        }
        Ok(growing)
    }

    /// Generates one more token for each sequence; returns those that are not finished.
    fn grow<'a>(
        &mut self,
        cache: &mut Cache,
        mut growing: Vec<GrowingSequence<'a>>,
        slots: &mut [JobOutcome],
    ) -> Result<Vec<GrowingSequence<'a>>> {
        for (row, sequence) in (cache.len() as u32..).zip(&mut growing) {
            sequence.rows.push(row);
        }
        let runs: Vec<TokenRun<'_>> = growing
            .iter()
            .map(|sequence| TokenRun {
                tokens: &sequence.generated[sequence.generated.len() - 1..],
                rows: &sequence.rows,
                whole: sequence.rows.len(),
            })
            .collect();
        let all: Vec<u32> = (0..runs.len() as u32).collect();
        let mut tokens = Vec::with_capacity(runs.len());
        self.network.step(cache, &runs, &all, |_, logits| tokens.push(likeliest(logits)))?;
        let mut going_on = Vec::with_capacity(growing.len());
        for (sequence, token) in growing.into_iter().zip(tokens) {
            going_on.extend(self.push(sequence, token, slots)?);
        }
        Ok(going_on)
    }

    /// Adds a generated token, if the model gave one; returns the sequence unless it ends here.
    fn push<'a>(
        &self,
        mut sequence: GrowingSequence<'a>,
        token: Option<u32>,
        slots: &mut [JobOutcome],
    ) -> Result<Option<GrowingSequence<'a>>> {
        sequence.generated.extend(token);
        let tokens = sequence.generated.len();
        let (text, truncated) = if token.is_none_or(|token| self.specials.ends.contains(&token)) {
            (self.tokenizer.decode(&sequence.generated)?, false)
        } else if let Some(text) = self.before_stop(&sequence)? {
            (text, false)
        } else if tokens == sequence.limit {
            (self.tokenizer.decode(&sequence.generated)?, true)
        } else {
            return Ok(Some(sequence));
        };
        let outcome = Outcome { broken: token.is_none(), ..Outcome::text(text, tokens, truncated) };
        slots[sequence.job] = JobOutcome { outcome, finished: true };
        Ok(None)
    }

    /// Text before the first stop text, if the newest token completed one.
    fn before_stop(&self, sequence: &GrowingSequence<'_>) -> Result<Option<String>> {
        let stops = || sequence.stop.iter().filter(|stop| !stop.is_empty());
        let Some(longest) = stops().map(String::len).max() else { return Ok(None) };
        let stop_at = |text: &str| stops().filter_map(|stop| text.find(stop)).min();
        // A token has at least one byte, and a character at most four: a stop text that has just appeared lies in here.
        let recent = sequence.generated.len().saturating_sub(longest + 4);
        if stop_at(&self.tokenizer.decode(&sequence.generated[recent..])?).is_none() {
            return Ok(None);
        }
        let mut text = self.tokenizer.decode(&sequence.generated)?;
        Ok(stop_at(&text).map(|end| {
            text.truncate(end);
            text
        }))
    }
}

/// The likeliest token; `None` if the greatest logit is not finite, or one is NaN.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let is_sound = kernel::maximum(logits).is_finite() && !logits.iter().any(|x| x.is_nan());
    is_sound.then(|| kernel::argmax(logits) as u32)
}
