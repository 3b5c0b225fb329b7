//! Texts in, marks out, against what the reference implementations in Python gave.

mod numbers;
mod texts;
mod words;
