//! Marks an answer as the published harnesses do, each under its own name, and as we would ourselves.
//!
//! Everything here is a function of texts. [`numbers`] reads the number of an answer; [`squad`], [`rouge`] and [`fuzzy`] compare
//! texts, [`neologdn`] and [`mecab`] make them comparable as the Japanese harnesses do; [`language`] says what language a
//! text is in.

pub mod numbers;
mod strict;
mod grammar;
pub mod neologdn;
pub mod mecab;
pub mod squad;
pub mod rouge;
pub mod fuzzy;
pub mod language;
#[cfg(test)]
mod tests;
