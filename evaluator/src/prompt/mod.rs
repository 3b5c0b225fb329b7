//! From a prompt to the tokens that a model reads: its special tokens, its chat template, what each harness does at the seams.

mod article;
mod chat;
pub(crate) mod encode;
mod special;
mod tokenizer;

pub use self::{chat::Conversation, tokenizer::Tokenizer};

pub(crate) use self::{
    article::cut,
    encode::{Encoder, before_space},
    special::Specials,
    tokenizer::common,
};
