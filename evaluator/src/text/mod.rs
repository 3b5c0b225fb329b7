//! Japanese text: made comparable, divided into words, told from other languages.

pub mod normalize;
pub mod neologdn;
pub mod mecab;
pub mod language;
