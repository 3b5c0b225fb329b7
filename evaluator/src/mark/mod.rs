//! Rules that compare an answer's text with the right one: those of the published harnesses, each
//! under its own name, and our own.
//!
//! [`numbers`] reads the number of an answer; [`squad`], [`rouge`] and [`fuzzy`] compare texts. The measures that a
//! task file may name are in other tables: `task::ours` for texts, `task::score` for likelihoods.

pub mod numbers;
mod strict;
mod grammar;
pub mod squad;
pub mod rouge;
pub mod fuzzy;
#[cfg(test)]
mod tests;
