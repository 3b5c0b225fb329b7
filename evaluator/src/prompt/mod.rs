//! Turns a prompt into tokens for a model: special tokens, chat template, each harness's way to join texts.

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
