//! Decides the tokens of the result, and the row that each model shows for each of them.

use super::{
    rows::Owners,
    tokens::{Tokens, Vocabulary, alike, define, keep_below, plain},
};
use crate::{
    error::{Error, Result},
    words::counted,
};
use serde_json::Value;

/// A recipe's requests for the tokenizer; models are named by position.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    /// Source of the result's tokens.
    pub source: VocabularySource,
    /// The base model; the first one if the recipe has none.
    pub base: usize,
    /// Requests for single tokens.
    pub rules: Vec<TokenRule<'a>>,
    /// Rows are appended until their number is a multiple of this number.
    pub pad_to_multiple_of: Option<usize>,
}

/// Source of the result's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VocabularySource {
    /// All tokens of all models.
    Union,
    /// The base's tokens.
    Base,
    /// The tokens of one model.
    Model(usize),
}

/// Request for a token.
#[derive(Clone, Debug)]
pub struct TokenRule<'a> {
    /// Text of the token; it is appended if the tokenizer lacks it.
    pub token: &'a str,
    /// Source of its row, in models that have none, or with `force` in all.
    pub source: Option<RowSource<'a>>,
    /// True if models that have the token give up their own row.
    pub force: bool,
}

/// Source of a token's row.
#[derive(Clone, Copy, Debug)]
pub enum RowSource<'a> {
    /// The same token of a model.
    Model(usize),
    /// Zeros.
    Zero,
    /// Any token of a model.
    Token {
        /// The model.
        model: usize,
        /// The token.
        token: Named<'a>,
    },
}

/// A token of a model.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// By its id.
    Id(usize),
    /// By its text.
    Text(&'a str),
}

/// Source of a row of a rebuilt tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenRow {
    /// A row of one model.
    At {
        /// Position of the model.
        model: usize,
        /// Position of the row.
        row: usize,
    },
    /// The mean over rows `(model, row)`.
    Mean(Vec<(usize, usize)>),
    /// Zeros.
    Zero,
    /// The mean over the rows that are not padding, as this model shows them.
    Average,
}

/// One tokenizer for all models.
#[derive(Clone, Debug)]
pub struct Alignment {
    /// Sources of each model's rows, in the result's order; `None` for a model whose rows stay.
    pub rows: Vec<Option<Vec<TokenRow>>>,
    /// For each of a model's ids the result's id, `None` for a token that is gone; `None` for a model whose ids stay.
    pub ids: Vec<Option<Vec<Option<usize>>>>,
    /// The result's `tokenizer.json`.
    pub tokenizer: Value,
    /// Position of the model whose tokenizer the result's is based on.
    pub donor: usize,
    /// Number of rows that each model had.
    pub old_rows: Vec<usize>,
    /// Number of rows of the result, with padding.
    pub len: usize,
    /// Notes for the user: tokens whose rows are zeros, rows that are gone.
    pub notes: Vec<String>,
}

/// Decides the result's tokenizer and rows.
///
/// Fails if a tokenizer cannot be read, or if a rule names a token that its model lacks.
///
/// # Panics
/// If `spec` names the position of a model that does not exist.
pub fn align(spec: &Spec<'_>, models: &[Vocabulary<'_>]) -> Result<Alignment> {
    let donor = if let VocabularySource::Model(model) = spec.source { model } else { spec.base };
    let asked = !spec.rules.is_empty() || spec.pad_to_multiple_of.is_some();
    let equal = !asked && models.iter().all(|model| model.rows == models[donor].rows);
    let mut tokenizer = models[donor].tokenizer.clone();
    let mut alignment = Alignment {
        rows: vec![None; models.len()],
        ids: vec![None; models.len()],
        tokenizer: Value::Null,
        donor,
        old_rows: models.iter().map(|model| model.rows).collect(),
        len: models[donor].rows,
        notes: Vec::new(),
    };
    if equal && models.iter().all(|model| *model.tokenizer == tokenizer) {
        return Ok(Alignment { tokenizer, ..alignment });
    }
    let tokens: Vec<Tokens<'_>> = models.iter().map(Tokens::read).collect::<Result<_>>()?;
    let same = equal && tokens.iter().all(|other| other.ids == tokens[donor].ids);
    if !same && !matches!(spec.source, VocabularySource::Model(_)) {
        keep_below(models[donor].rows, &mut tokenizer, &tokens[donor]);
    }
    let additions = {
        let vocabulary = Vocabulary { tokenizer: &tokenizer, ..models[donor] };
        let mut result =
            GatheredTokens { tokens: Tokens::read(&vocabulary)?, donor, from: &tokens, additions: Vec::new() };
        if spec.source == VocabularySource::Union {
            result.unite(spec.base, models, &mut alignment.notes)?;
        }
        for rule in &spec.rules {
            result.add(rule.token, models)?;
        }
        if !same {
            let owners = Owners { spec, models, tokens: &tokens, donor };
            alignment.place(&owners, &result.tokens)?;
        }
        result.additions
    };
    define(&mut tokenizer, additions);
    alignment.tokenizer = tokenizer;
    Ok(alignment)
}

impl Alignment {
    /// Decides the rows, and the new ids of each model's tokens.
    fn place(&mut self, owners: &Owners<'_>, result: &Tokens<'_>) -> Result<()> {
        let (rows, nowhere) = owners.place(&result.texts)?;
        if let [first, more @ ..] = &nowhere[..] {
            let (more, rows) = match more.len() {
                0 => (String::new(), "its row is"),
                n => (format!(" and {}", counted(n, "more token")), "their rows are"),
            };
            self.notes.push(format!("`{first}`{more}: in no model's embedding, so {rows} set to zeros"));
        }
        self.len = rows[self.donor].len();
        let donor = &owners.models[self.donor];
        if self.len < donor.rows {
            self.notes.push(format!(
                "{} rows, one for each token, where `{}` has {}: `pad_to_multiple_of` pads them",
                self.len, donor.name, donor.rows
            ));
        }
        for (model, rows) in rows.into_iter().enumerate() {
            let own = |(at, row): (usize, &TokenRow)| *row == TokenRow::At { model, row: at };
            let whole = rows.len() == owners.models[model].rows && rows.iter().enumerate().all(own);
            self.rows[model] = (!whole).then_some(rows);
            let texts = owners.tokens[model].texts.iter().enumerate();
            let ids: Vec<Option<usize>> = texts
                .map(|(id, text)| match text {
                    Some(text) => result.ids.get(text).copied(),
                    None => Some(id).filter(|id| model == self.donor && *id < self.len),
                })
                .collect();
            let stay = ids.iter().enumerate().all(|(old, new)| *new == Some(old));
            self.ids[model] = (!stay).then_some(ids);
        }
        Ok(())
    }
}

/// The result's tokens, while they are collected.
struct GatheredTokens<'a, 't> {
    tokens: Tokens<'a>,
    donor: usize,
    from: &'t [Tokens<'a>],
    /// New definitions of added tokens, with their ids.
    additions: Vec<(usize, Value)>,
}

impl<'a> GatheredTokens<'a, '_> {
    /// Adds the tokens of every model, and their definitions as added tokens.
    fn unite(&mut self, base: usize, models: &[Vocabulary<'_>], notes: &mut Vec<String>) -> Result<()> {
        for model in (0..models.len()).filter(|model| *model != base) {
            let from = &self.from[model];
            for (id, text) in from.texts.iter().enumerate() {
                let Some(text) = *text else { continue };
                // A special token beyond the rows is still used by the model's other files.
                if id < models[model].rows || from.added.contains_key(text) {
                    self.add(text, models)?;
                }
                let Some(definition) = from.added.get(text) else { continue };
                match self.tokens.added.get(text) {
                    None => {
                        self.additions.push((self.tokens.ids[text], (*definition).clone()));
                        self.tokens.added.insert(text, definition);
                    }
                    Some(first) if !alike(first, definition) => {
                        let name = models[model].name;
                        notes.push(format!("`{text}`: `{name}` defines it differently; the first definition is used"));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Appends a token, unless it is present.
    fn add(&mut self, text: &'a str, models: &[Vocabulary<'_>]) -> Result<()> {
        if self.tokens.ids.contains_key(text) {
            return Ok(());
        }
        let id = self.tokens.next;
        if self.tokens.texts.get(id).is_some_and(Option::is_some) {
            let name = models[self.donor].name;
            return Err(Error::user(format!(
                "`{name}`: tokenizer.json: its ids have gaps, so no token can be added to it"
            ))
            .hint("take another model's tokenizer as `source`"));
        }
        self.tokens.next += 1;
        self.tokens.texts.resize(self.tokens.texts.len().max(id + 1), None);
        self.tokens.texts[id] = Some(text);
        self.tokens.ids.insert(text, id);
        let known = self.from.iter().find_map(|tokens| Some((text, *tokens.added.get(text)?)));
        self.additions.push((id, known.map_or_else(|| plain(text), |(_, definition)| definition.clone())));
        self.tokens.added.extend(known);
        Ok(())
    }
}
