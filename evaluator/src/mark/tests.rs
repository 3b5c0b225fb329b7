//! Texts in, marks out, compared with reference implementations in Python.

mod numbers;
mod texts;
mod words;
