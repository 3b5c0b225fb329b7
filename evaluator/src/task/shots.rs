//! Chooses the answered examples of each document, and draws exactly those that the harnesses draw.

use super::Doc;
use crate::python::PythonRandom;
use merge_core::{
    error::{Error, Result},
    words::counted,
};

/// The documents that examples come from, and the way to choose among them.
pub(super) struct ShotPool {
    pub(super) docs: Vec<Doc>,
    /// Number of examples to choose.
    pub(super) count: usize,
    /// The way to choose.
    pub(super) draw: Draw,
    /// True if the asked document may be in the pool, and must be left out.
    pub(super) excludes_asked: bool,
}

/// The way examples are chosen.
pub(super) enum Draw {
    /// The first ones.
    First,
    /// At random, for each document in turn, from one generator.
    Random,
    /// At random, in the proportions of these classes, one for each document of the pool.
    Stratified(Vec<usize>),
}

impl ShotPool {
    /// The examples for a document, as indices into the pool.
    pub(super) fn choose(&self, doc: &Doc, random: &mut PythonRandom) -> Result<Vec<usize>> {
        let Self { docs, count, excludes_asked, .. } = self;
        let others = || (0..docs.len()).filter(|i| !excludes_asked || docs[*i] != *doc);
        let wanted = count + usize::from(*excludes_asked);
        let too_few = |there: usize, wanted: usize| {
            let are = if wanted == 1 { "is" } else { "are" };
            let (wanted, there) = (counted(wanted, "example"), counted(there, "document"));
            Error::user(format!("{wanted} {are} to be chosen from {there}"))
                .hint("ask for fewer with `num_fewshot`, or take them from another `fewshot_split`")
        };
        match &self.draw {
            _ if *count == 0 => Ok(Vec::new()),
            Draw::First => {
                let first: Vec<usize> = others().take(*count).collect();
                if first.len() < *count { Err(too_few(first.len(), *count)) } else { Ok(first) }
            }
            Draw::Random => {
                if docs.len() < wanted {
                    return Err(too_few(docs.len(), wanted));
                }
                let mut drawn = random.sample(docs.len(), wanted);
                drawn.retain(|i| !excludes_asked || docs[*i] != *doc);
                drawn.truncate(*count);
                if drawn.len() == *count {
                    return Ok(drawn);
                }
                // The document is in the pool more than once, and was drawn more than once.
                let others: Vec<usize> = others().collect();
                if others.len() < *count {
                    return Err(too_few(others.len(), *count));
                }
                Ok(random.sample(others.len(), *count).into_iter().map(|i| others[i]).collect())
            }
            Draw::Stratified(classes) => {
                if docs.len() < wanted {
                    return Err(too_few(docs.len(), wanted));
                }
                let mut drawn = stratified(classes, wanted, random);
                drawn.retain(|i| !excludes_asked || docs[*i] != *doc);
                drawn.truncate(*count);
                Ok(drawn)
            }
        }
    }
}

/// Draws from each class its share of `count`, rounded down, plus more of the least drawn; shuffles them.
fn stratified(classes: &[usize], count: usize, random: &mut PythonRandom) -> Vec<usize> {
    let mut members: Vec<(usize, Vec<usize>)> = Vec::new();
    for (i, class) in classes.iter().enumerate() {
        match members.iter_mut().find(|(known, _)| known == class) {
            Some((_, of)) => of.push(i),
            None => members.push((*class, vec![i])),
        }
    }
    let share = |of: &[usize]| (of.len() as f64 / classes.len() as f64 * count as f64) as usize;
    let mut counts: Vec<usize> = members.iter().map(|(_, of)| share(of)).collect();
    while counts.iter().sum::<usize>() < count {
        let rarest = (0..counts.len()).min_by_key(|i| counts[*i]).expect("there is a class");
        counts[rarest] += 1;
    }
    let mut drawn = Vec::new();
    for ((_, of), count) in members.iter().zip(counts) {
        drawn.extend(random.sample(of.len(), count.min(of.len())).into_iter().map(|i| of[i]));
    }
    random.shuffle(&mut drawn);
    drawn
}
