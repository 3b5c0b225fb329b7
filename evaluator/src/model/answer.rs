//! Requests to batches of sequences, logits to answers.

use super::{
    Llama,
    decoder::Cache,
    kernel,
    ops::Run,
    prefill::{Prefill, Sequence, shared_with},
};
use crate::request::{Answer, Ask, Fit, Heard, LanguageModel, Likelihood, Limit, Request, Said};
use merge_core::error::{Error, Result};
use std::ops::ControlFlow;

/// A sequence and what its logits are wanted for.
#[derive(Debug)]
struct Job<'a> {
    sequence: Sequence,
    request: usize,
    purpose: Purpose<'a>,
}

#[derive(Debug)]
enum Purpose<'a> {
    /// Go on greedily.
    Generate { stop: &'a [String], max_tokens: usize },
    /// How likely are these tokens? Target `i` follows position `from + i`.
    Choose { choice: usize, targets: Vec<u32> },
}

/// A sequence that is being gone on from.
#[derive(Debug)]
struct Growing<'a> {
    request: usize,
    stop: &'a [String],
    /// Tokens to generate: never more than the context has room for.
    max_tokens: usize,
    rows: Vec<u32>,
    generated: Vec<u32>,
}

impl LanguageModel for Llama {
    fn answer(&mut self, requests: &[Request], heard: &mut Heard<'_>) -> Result<()> {
        let mut answers: Vec<Said> = requests.iter().map(empty).collect();
        let mut jobs = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            self.jobs(i, request, &mut jobs).map_err(|e| e.at(format!("request {}", i + 1)))?;
        }
        // Neighbours share the longest beginnings.
        let stretch = |job: &Job<'_>| self.decoder.stretch(job.sequence.tokens.len());
        jobs.sort_by(|a, b| (stretch(a), &a.sequence).cmp(&(stretch(b), &b.sequence)));
        let alike: Vec<&[Job<'_>]> = jobs.chunk_by(|a, b| stretch(a) == stretch(b)).collect();
        let mut cache = self.decoder.cache()?;
        for mut rest in alike {
            let mut before = (Vec::new(), Vec::new());
            while !rest.is_empty() {
                let (batch, others) = rest.split_at(self.batch_len(rest));
                before = self.answer_batch(&mut cache, batch, &before, &mut answers)?;
                rest = others;
            }
        }
        for (number, said) in answers.into_iter().enumerate() {
            if let ControlFlow::Break(()) = heard(number, Answer { said, fit: Fit::default() })? {
                break;
            }
        }
        Ok(())
    }
}

/// The answer before anything is computed.
fn empty(request: &Request) -> Said {
    let certain = Likelihood { log: 0.0, tokens: 0, greedy: true };
    match &request.ask {
        Ask::Generate { .. } => Said::Text { text: String::new(), tokens: 0, truncated: true },
        Ask::Choose { choices } => Said::Likelihoods(vec![certain; choices.len()]),
        Ask::Read { .. } => Said::Likelihoods(vec![certain]),
    }
}

impl Llama {
    /// The sequences of a request; none for what is answered already (no token may be generated, an empty choice).
    fn jobs<'a>(&self, number: usize, request: &'a Request, jobs: &mut Vec<Job<'a>>) -> Result<()> {
        let context = self.decoder.blueprint().context;
        let prompt = request.prompt.text();
        match &request.ask {
            Ask::Generate { stop, limit } => {
                let tokens = self.prompt(&prompt)?;
                let Limit::Tokens(max_tokens) = limit else { unimplemented!() };
                let max_tokens = (*max_tokens).min(context.saturating_sub(tokens.len()));
                if max_tokens > 0 {
                    let sequence = Sequence { from: tokens.len() - 1, tokens };
                    jobs.push(Job { sequence, request: number, purpose: Purpose::Generate { stop, max_tokens } });
                }
            }
            Ask::Read { .. } => unimplemented!(),
            Ask::Choose { choices } => {
                let prompt = self.prompt(&prompt)?;
                for (choice, text) in choices.iter().enumerate() {
                    let targets = self.tokenizer.encode_continuation(text)?;
                    let len = prompt.len() + targets.len();
                    if len > context {
                        return Err(Error::user(format!(
                            "choice {} and its prompt have {len} tokens, but the model's context has {context}",
                            choice + 1
                        ))
                        .hint("use fewer examples in the prompt, or a model with a longer context"));
                    }
                    let Some((_, seen)) = targets.split_last() else { continue };
                    let sequence = Sequence { from: prompt.len() - 1, tokens: [&prompt, seen].concat() };
                    jobs.push(Job { sequence, request: number, purpose: Purpose::Choose { choice, targets } });
                }
            }
        }
        Ok(())
    }

    fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.tokenizer.encode_prompt(text)?;
        if tokens.is_empty() {
            let start = self.start.ok_or_else(|| {
                Error::user("the prompt has no token, and config.json no bos_token_id to put in its place")
            })?;
            return Ok(vec![start]);
        }
        Ok(tokens)
    }

    /// How many of the jobs, at least one, fit a batch.
    fn batch_len(&self, jobs: &[Job<'_>]) -> usize {
        let most = self.batch.cache_bytes / self.decoder.row_bytes();
        let mut rows = 0;
        let fitting = jobs.iter().take(self.batch.sequences).take_while(|job| {
            rows += job.sequence.tokens.len() + job.growth();
            rows <= most
        });
        fitting.count().max(1)
    }

    /// Answers a batch, taking over what it shares with the sequence `before` (its tokens and rows); returns
    /// the batch's last sequence.
    fn answer_batch(
        &mut self,
        cache: &mut Cache,
        jobs: &[Job<'_>],
        before: &(Vec<u32>, Vec<u32>),
        answers: &mut [Said],
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        let sequences: Vec<Sequence> = jobs.iter().map(|job| job.sequence.clone()).collect();
        let shared = shared_with(&before.0, &sequences);
        let plan = Prefill::plan(&sequences, shared);
        let room: usize = plan.stretches.iter().map(|(_, start, end)| end - start).sum();
        let growth: usize = jobs.iter().map(Job::growth).sum();
        cache.keep(&before.1[..shared], shared + room + growth)?;
        let mut growing = self.read(cache, jobs, &sequences, &plan, answers)?;
        while !growing.is_empty() {
            growing = self.grow(cache, growing, answers)?;
        }
        let last = sequences.into_iter().next_back().map_or_else(Vec::new, |sequence| sequence.tokens);
        Ok((last, plan.rows.into_iter().next_back().unwrap_or_default()))
    }

    /// Computes what is new in the sequences; scores the choices and returns the sequences that go on.
    fn read<'a>(
        &mut self,
        cache: &mut Cache,
        jobs: &[Job<'a>],
        sequences: &[Sequence],
        plan: &Prefill,
        answers: &mut [Said],
    ) -> Result<Vec<Growing<'a>>> {
        let mut first_tokens = Vec::new();
        let mut wanted = &plan.wanted[..];
        for runs in plan.steps(sequences, self.batch.tokens) {
            let first = cache.len() as u32;
            let end = first + runs.iter().map(|run| run.tokens.len() as u32).sum::<u32>();
            let (now, later) = wanted.split_at(wanted.partition_point(|(row, ..)| *row < end));
            // Several sequences may want the same row.
            let by_row: Vec<_> = now.chunk_by(|a, b| a.0 == b.0).collect();
            let rows: Vec<u32> = by_row.iter().map(|of_row| of_row[0].0 - first).collect();
            self.step(cache, &runs, &rows, |i, logits| {
                let mut log_sum = None;
                for &(_, job, position) in by_row[i] {
                    match &jobs[job].purpose {
                        Purpose::Generate { .. } => first_tokens.push((job, kernel::argmax(logits) as u32)),
                        Purpose::Choose { choice, targets } => {
                            let target = targets[position - jobs[job].sequence.from];
                            let log_sum = *log_sum.get_or_insert_with(|| kernel::log_sum_exp(logits));
                            let log_likelihood = f64::from(logits[target as usize]) - log_sum;
                            if let Said::Likelihoods(sums) = &mut answers[jobs[job].request] {
                                // A broken candidate finds every choice impossible; NaN would poison its ranking.
                                sums[*choice].log +=
                                    if log_likelihood.is_nan() { f64::NEG_INFINITY } else { log_likelihood };
                            }
                        }
                    }
                }
            })?;
            wanted = later;
        }
        let mut growing = Vec::with_capacity(first_tokens.len());
        for (job, token) in first_tokens {
            let Purpose::Generate { stop, max_tokens } = jobs[job].purpose else { continue };
            let (request, rows) = (jobs[job].request, plan.rows[job].clone());
            let sequence = Growing { request, stop, max_tokens, rows, generated: Vec::new() };
            growing.extend(self.push(sequence, token, answers)?);
        }
        Ok(growing)
    }

    /// One more token for each sequence; returns those that go on.
    fn grow<'a>(
        &mut self,
        cache: &mut Cache,
        mut growing: Vec<Growing<'a>>,
        answers: &mut [Said],
    ) -> Result<Vec<Growing<'a>>> {
        for (row, sequence) in (cache.len() as u32..).zip(&mut growing) {
            sequence.rows.push(row);
        }
        let runs: Vec<Run<'_>> = growing
            .iter()
            .map(|sequence| Run {
                tokens: &sequence.generated[sequence.generated.len() - 1..],
                rows: &sequence.rows,
                whole: sequence.rows.len(),
            })
            .collect();
        let all: Vec<u32> = (0..runs.len() as u32).collect();
        let mut tokens = Vec::with_capacity(runs.len());
        self.step(cache, &runs, &all, |_, logits| tokens.push(kernel::argmax(logits) as u32))?;
        let mut going_on = Vec::with_capacity(growing.len());
        for (sequence, token) in growing.into_iter().zip(tokens) {
            going_on.extend(self.push(sequence, token, answers)?);
        }
        Ok(going_on)
    }

    /// Adds a generated token; a sequence that ends with it is answered, any other comes back.
    fn push<'a>(&self, mut sequence: Growing<'a>, token: u32, answers: &mut [Said]) -> Result<Option<Growing<'a>>> {
        sequence.generated.push(token);
        let tokens = sequence.generated.len();
        let (text, truncated) = if self.ends.contains(&token) {
            (self.tokenizer.decode(&sequence.generated)?, false)
        } else if let Some(text) = self.before_stop(&sequence)? {
            (text, false)
        } else if tokens == sequence.max_tokens {
            (self.tokenizer.decode(&sequence.generated)?, true)
        } else {
            return Ok(Some(sequence));
        };
        answers[sequence.request] = Said::Text { text, tokens, truncated };
        Ok(None)
    }

    /// The text before the first stop text, if the newest token completed one.
    fn before_stop(&self, sequence: &Growing<'_>) -> Result<Option<String>> {
        let Some(longest) = sequence.stop.iter().map(String::len).max() else { return Ok(None) };
        let stop_at = |text: &str| sequence.stop.iter().filter_map(|stop| text.find(stop)).min();
        // A token is at least a byte (and a character at most four), so a stop text that has just appeared lies in here.
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

impl Job<'_> {
    /// Most rows of the cache it takes beyond its sequence: the last token generated is not computed.
    fn growth(&self) -> usize {
        match self.purpose {
            Purpose::Generate { max_tokens, .. } => max_tokens - 1,
            Purpose::Choose { .. } => 0,
        }
    }
}
