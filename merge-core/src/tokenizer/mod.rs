//! Vocabularies: models with different tokenizers are given one, and their embeddings rows in its order.
//!
//! [`unify`] is the whole way: it reads every model's tokenizer, decides the result's ([`align()`]) and presents each model as
//! if it had been trained with it ([`RemappedModel`]), before any method sees a row. [`chat`] chooses the chat template.
//!
//! # The result's tokenizer
//!
//! | source | tokens |
//! |---|---|
//! | `base` | the base's; a token without a row in the base's embedding is left out |
//! | a model | that model's, all of them |
//! | `union` | the base's as above; then, model by model in the recipe's order and by ascending id, every token it has not got yet |
//!
//! The ids are the same on every run. A token that `union` brings, or one that only `tokenizer.tokens` names, is appended as an
//! *added token*: its text is looked for literally. The merges of another BPE tokenizer and the scores of another Unigram are
//! not taken over, for two tokenizers' rules do not add up to one; so an ordinary token of another model is decoded, but seldom
//! produced. Of several definitions of an added token (special, stripped of spaces …) the first wins: the base's, then the
//! models' in order.
//!
//! # Rows
//!
//! A model keeps its own row of a token, unless `force` is set. Otherwise the row comes from, in this order: what
//! `tokenizer.tokens` says; the only model that has the token; zeros, if none has; the base; the mean over the models that have
//! it. An id at or beyond the number of rows has no row, whatever the tokenizer says. Rows that are computed (means) are rounded
//! to the tensor's type. `pad_to_multiple_of` appends rows that are the mean of all others.
//!
//! # Padded embeddings
//!
//! Many models have more rows than tokens (Qwen2.5: 152064 and 151665). Where all models have the same tokens and the same number
//! of rows, and neither `tokens` nor `pad_to_multiple_of` asks for anything, nothing is moved and all rows stay. Otherwise the
//! result has a row for each token and no more, as mergekit's has, unless padded; a note says so.

mod align;
pub mod chat;
mod moved;
mod pieces;
mod remap;
mod rows;
mod same;
mod sidecars;
#[cfg(test)]
mod tests;
mod tokens;

pub use align::{Alignment, Named, RowSource, Spec, TokenRow, TokenRule, VocabularySource, align};
pub(crate) use remap::token_tensors;
pub use remap::{RemappedModel, UnifiedModels, unify, vocabulary_tensors};
pub use same::{TokenDifferences, TokenFiles, TokenTable};
pub use sidecars::{Sidecars, read, sidecars};
pub use tokens::Vocabulary;
