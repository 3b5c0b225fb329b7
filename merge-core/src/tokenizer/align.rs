//! Which tokens the result has, and which row of which model each model shows for them.

use super::{
    rows::Owners,
    tokens::{Tokens, Vocabulary, alike, define, keep_below, plain},
};
use crate::error::{Error, Result};
use serde_json::Value;

/// What a recipe asks of the tokenizer; models are named by their position.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    /// Whose tokens the result has.
    pub source: VocabularySource,
    /// The base model; the first one if the recipe has none.
    pub base: usize,
    /// What is asked of single tokens.
    pub rules: Vec<TokenRule<'a>>,
    /// Rows are appended until their number is a multiple of this.
    pub pad_to_multiple_of: Option<usize>,
}

/// Whose tokens the result has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VocabularySource {
    /// Those of all models.
    Union,
    /// Those of the base.
    Base,
    /// Those of one model.
    Model(usize),
}

/// What is asked of a token.
#[derive(Clone, Debug)]
pub struct TokenRule<'a> {
    /// Its text; if the tokenizer has no such token, it is appended.
    pub token: &'a str,
    /// Where its row comes from, in models that have none, or in all.
    pub source: Option<RowSource<'a>>,
    /// Whether models that have the token give up their own row.
    pub force: bool,
}

/// Where a token's row comes from.
#[derive(Clone, Copy, Debug)]
pub enum RowSource<'a> {
    /// From the same token of a model.
    Model(usize),
    /// From nowhere: zeros.
    Zero,
    /// From some token of a model.
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

/// Where a row of a rebuilt tensor comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenRow {
    /// From one model.
    At {
        /// Which model.
        model: usize,
        /// Which of its rows.
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
    /// For each model where its rows come from, in the result's order; `None` where they stay as they are.
    pub rows: Vec<Option<Vec<TokenRow>>>,
    /// For each model the result's id of each of its ids, `None` inside for a token that is gone; `None` if ids stay.
    pub ids: Vec<Option<Vec<Option<usize>>>>,
    /// The result's `tokenizer.json`.
    pub tokenizer: Value,
    /// The model whose tokenizer that was at first.
    pub donor: usize,
    /// How many rows each model had.
    pub was: Vec<usize>,
    /// Rows of the result, with padding.
    pub len: usize,
    /// What the user should know: tokens whose rows are zeros, rows that are gone.
    pub notes: Vec<String>,
}

/// Decides the result's tokenizer and rows.
///
/// Fails if a tokenizer cannot be read, or a rule names a token that its model has not got.
///
/// # Panics
/// If a position in `spec` is not that of a model.
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
        was: models.iter().map(|model| model.rows).collect(),
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
    /// Decides the rows, and where each model's ids have gone.
    fn place(&mut self, owners: &Owners<'_>, result: &Tokens<'_>) -> Result<()> {
        let (rows, nowhere) = owners.place(&result.texts)?;
        if let [first, more @ ..] = &nowhere[..] {
            let more = if more.is_empty() { String::new() } else { format!(" and {} more tokens", more.len()) };
            self.notes.push(format!("`{first}`{more}: in no model's embedding, so that its row is zeros"));
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

/// The result's tokens while they are gathered.
struct GatheredTokens<'a, 't> {
    tokens: Tokens<'a>,
    donor: usize,
    from: &'t [Tokens<'a>],
    /// New definitions of added tokens, with their ids.
    additions: Vec<(usize, Value)>,
}

impl<'a> GatheredTokens<'a, '_> {
    /// Takes in the tokens of every model, and what one of them defines as an added token.
    fn unite(&mut self, base: usize, models: &[Vocabulary<'_>], notes: &mut Vec<String>) -> Result<()> {
        for model in (0..models.len()).filter(|model| *model != base) {
            let from = &self.from[model];
            for (id, text) in from.texts.iter().enumerate() {
                let Some(text) = *text else { continue };
                // A special token that lies beyond the rows is still what the model's other files speak of.
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
                        notes.push(format!("`{text}`: `{name}` defines it otherwise; the first definition is taken"));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Appends a token, unless it is there.
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
