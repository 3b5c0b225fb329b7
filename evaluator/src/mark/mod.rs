//! Rules that compare an answer's text with the right one, as the published harnesses do, each under its own name, and as we would
//! ourselves.
//!
//! [`numbers`] reads the number of an answer; [`squad`], [`rouge`] and [`fuzzy`] compare texts. The measures that a task file may
//! name are tables elsewhere: `task::ours` for texts, `task::score` for likelihoods.

pub mod numbers;
mod strict;
mod grammar;
pub mod squad;
pub mod rouge;
pub mod fuzzy;
#[cfg(test)]
mod tests;
