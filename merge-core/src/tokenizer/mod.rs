//! Vocabularies: models with different tokenizers get one tokenizer, and embedding rows in its order.
//!
//! [`unify`] reads every model's tokenizer, decides the result's ([`align()`]), and presents each model as if trained
//! with it ([`RemappedModel`]), before any method sees a row. [`chat`] chooses the chat template.
//!
//! # The result's tokenizer
//!
//! | source | tokens |
//! |---|---|
//! | `base` | the base's; a token without a row in the base's embedding is left out |
//! | a model | all tokens of that model |
//! | `union` | the base's as above; then, model by model in the recipe's order and by ascending id, every token that is missing |
//!
//! The ids are the same in every run. A token that `union` adds, or that only `tokenizer.tokens` names, is appended as
//! an *added token*: its text is matched literally. The merges of another BPE tokenizer and the scores of another
//! Unigram are not taken over, because the rules of two tokenizers cannot be combined; so an ordinary token of another
//! model is decoded, but seldom produced. If an added token has several definitions (special, stripped of spaces …),
//! the first one applies: the base's, then the other models' in order.
//!
//! # Rows
//!
//! A model keeps its own row of a token, unless `force` is set. Otherwise the row comes from the first of: the source
//! in `tokenizer.tokens`; the only model that has the token; zeros, if none has it; the base; the mean over the models
//! that have it. An id at or beyond the number of rows has no row, whatever the tokenizer says. Computed rows (means)
//! are rounded to the tensor's type. `pad_to_multiple_of` appends rows that are the mean of all others.
//!
//! # Padded embeddings
//!
//! Many models have more rows than tokens (Qwen2.5: 152064 and 151665). If all models have the same tokens and the same
//! number of rows, and neither `tokens` nor `pad_to_multiple_of` is set, no row moves and all stay. Otherwise the
//! result has exactly one row for each token, like mergekit's, unless it is padded; a note says so.

mod align;
pub mod chat;
mod moved;
mod pieces;
mod remap;
mod rows;
mod sidecars;
#[cfg(test)]
mod tests;
mod token_table;
mod tokens;

pub use align::{Alignment, Named, RowSource, Spec, TokenRow, TokenRule, VocabularySource, align};
pub(crate) use remap::token_tensors;
pub use remap::{RemappedModel, UnifiedModels, unify, vocabulary_tensors};
pub use sidecars::{Sidecars, read, sidecars};
pub use token_table::{TokenDifferences, TokenFiles, TokenTable};
pub use tokens::Vocabulary;
