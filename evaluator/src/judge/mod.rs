//! Scores from a program or a service of the user's own: it is given a model's directory and the items asked, and tells a score for each.
//!
//! A call is answered whole or not at all. Whatever is wrong with an answer (an exit code, a line that is no JSON, an item
//! that is missing, unknown or scored twice, a score that is no number) is an error of that call, with the last lines of
//! the program's error output; whoever called decides whether the model or the judge is to blame.

mod command;
mod items;
mod process;
mod service;
#[cfg(test)]
mod tests;
mod verdict;

pub use self::items::JudgeItems;

use self::{command::JudgeCommand, service::JudgeService};
use crate::{
    engine::{Scratch, ScratchModel},
    interrupt::Interrupt,
    task::{ItemQuestion, Split},
};
use merge_core::{
    error::{Error, Result},
    item::{ItemId, ItemScore},
    search::{Fractions, JudgeCall, JudgeEntry},
    yaml::At,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::path::Path;
use ureq::Agent;

/// Raised when a call or the reading of its answer changes, so that scores remembered from before are not used.
const VERSION: u32 = 1;

/// Default name of a judge's scores.
const METRIC: &str = "score";

/// A program or a service that scores models.
pub struct Judge {
    name: String,
    metric: String,
    worst: f64,
    call: Call,
    items: JudgeItems,
    fingerprint: [u8; 32],
}

enum Call {
    Command(JudgeCommand),
    Service(JudgeService),
}

/// Longest output of a program, and longest answer of a service.
const MOST_OUTPUT: usize = 64 << 20;

impl Judge {
    /// Reads a judge of `file`, a search file, and its items. Nothing is run. `agent` makes connections to an address.
    ///
    /// Fails if its program is not there, or if its items cannot be read or divided.
    pub fn read(
        entry: &JudgeEntry,
        metric: Option<&At<String>>,
        split: Option<At<Fractions>>,
        file: &Path,
        agent: impl Fn(&str) -> Result<Agent>,
    ) -> Result<Self> {
        let items = match &entry.items {
            Some(items) => JudgeItems::read(items, split, file)?,
            None => JudgeItems::whole(),
        };
        let call = match &entry.call {
            JudgeCall::Command(words) => {
                Call::Command(JudgeCommand::read(words, items.is_whole(), entry.timeout, file)?)
            }
            JudgeCall::Service(address) => {
                let at = |e: Error| e.at(address.place.of(file));
                Call::Service(JudgeService::new(agent(address).map_err(at)?, address, entry.timeout).map_err(at)?)
            }
        };
        let metric = metric.map_or(METRIC, |metric| metric.as_str()).to_owned();
        let called = match &call {
            Call::Command(command) => command.identity(),
            Call::Service(service) => json!({ "service": service.address() }),
        };
        let all = json!({
            "version": VERSION, "call": called, "metric": metric, "items": items.sha256(), "worst": entry.worst,
        });
        let fingerprint = Sha256::digest(all.to_string()).into();
        Ok(Self { name: entry.name.value.clone(), metric, worst: entry.worst, call, items, fingerprint })
    }

    /// Name in tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of its scores.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// Score of an item that could not be scored.
    pub fn worst(&self) -> f64 {
        self.worst
    }

    /// Digest of its words, of the programs and files that they name, and of its items.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// True if it tells one number for a model.
    pub fn is_whole(&self) -> bool {
        self.items.is_whole()
    }

    /// The items of a split, in the order of their file.
    pub fn split(&self, split: Split) -> &[ItemId] {
        self.items.split(split)
    }

    /// Questions of items, as far as they have text.
    pub(crate) fn asks(&self, items: &[ItemId]) -> Vec<ItemQuestion> {
        self.items.questions(items)
    }

    /// Scores a model on items. Files for the program are written in `scratch`.
    ///
    /// Fails with an error that the user can fix if the answer cannot be used; with one of the machine if there is no
    /// answer at all, as nothing could be called.
    pub fn score(
        &self,
        model: &ScratchModel,
        items: &[ItemId],
        scratch: &Scratch,
        interrupt: &Interrupt,
    ) -> Result<Vec<(ItemId, ItemScore)>> {
        let asked = self.items.asked(items);
        let scored = match &self.call {
            Call::Command(command) => command.run(model.path(), &asked, scratch, interrupt, self.worst),
            Call::Service(service) => service
                .ask(model.path(), &asked, interrupt)
                .and_then(|text| verdict::scores(&text, &asked, self.worst).map_err(Error::user)),
        };
        scored.map_err(|e| e.at(format!("judge {}", self.name)))
    }
}
