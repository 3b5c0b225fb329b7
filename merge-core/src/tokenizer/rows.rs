//! Decides the row that each model shows for each token of the result.

use super::{
    align::{Named, RowSource, Spec, TokenRow, TokenRule},
    tokens::{Tokens, Vocabulary},
};
use crate::{
    error::{Error, Result},
    words::did_you_mean,
};
use std::collections::HashMap;

/// Everything that decides the rows.
pub(super) struct Owners<'a> {
    pub(super) spec: &'a Spec<'a>,
    pub(super) models: &'a [Vocabulary<'a>],
    pub(super) tokens: &'a [Tokens<'a>],
    /// Position of the model whose tokenizer the result has.
    pub(super) donor: usize,
}

/// Each model's rows in the result's order, and the tokens that no embedding has.
pub(super) type Placed<'a> = (Vec<Vec<TokenRow>>, Vec<&'a str>);

impl Owners<'_> {
    /// Decides every row, padding last.
    ///
    /// Fails if a rule names a token that its model lacks.
    pub(super) fn place<'t>(&self, texts: &[Option<&'t str>]) -> Result<Placed<'t>> {
        let rules: HashMap<&str, &TokenRule<'_>> = self.spec.rules.iter().map(|rule| (rule.token, rule)).collect();
        let len = texts.len().next_multiple_of(self.spec.pad_to_multiple_of.unwrap_or(1).max(1));
        let mut rows = vec![Vec::with_capacity(len); self.models.len()];
        let mut nowhere = Vec::new();
        for (id, text) in texts.iter().enumerate() {
            let rule = text.and_then(|text| rules.get(text));
            let own: Vec<Option<usize>> = (0..self.models.len()).map(|model| self.own(model, id, *text)).collect();
            let given = rule.map(|rule| self.given(rule)).transpose()?.flatten();
            let default = given.unwrap_or_else(|| self.default(&own));
            if let (TokenRow::Zero, None, Some(text)) = (&default, rule.and_then(|rule| rule.source), text) {
                nowhere.push(*text);
            }
            let force = rule.is_some_and(|rule| rule.force);
            for (model, (rows, own)) in rows.iter_mut().zip(own).enumerate() {
                rows.push(match own {
                    Some(row) if !force => TokenRow::At { model, row },
                    _ => default.clone(),
                });
            }
        }
        for rows in &mut rows {
            rows.resize(len, TokenRow::Average);
        }
        Ok((rows, nowhere))
    }

    /// A model's own row of a token. An id without a token belongs to the donor.
    fn own(&self, model: usize, id: usize, text: Option<&str>) -> Option<usize> {
        let id = match text {
            Some(text) => self.tokens[model].ids.get(text).copied(),
            None => (model == self.donor).then_some(id),
        };
        id.filter(|id| *id < self.models[model].rows)
    }

    /// The row for models without their own: the only model's, the base's, or the mean.
    fn default(&self, own: &[Option<usize>]) -> TokenRow {
        let owners: Vec<(usize, usize)> =
            own.iter().enumerate().filter_map(|(model, row)| Some((model, (*row)?))).collect();
        match (&owners[..], own[self.spec.base]) {
            ([], _) => TokenRow::Zero,
            ([(model, row)], _) => TokenRow::At { model: *model, row: *row },
            (_, Some(row)) => TokenRow::At { model: self.spec.base, row },
            _ => TokenRow::Mean(owners),
        }
    }

    /// The row that a rule gives; `None` if it has no source.
    fn given(&self, rule: &TokenRule<'_>) -> Result<Option<TokenRow>> {
        let Some(source) = rule.source else { return Ok(None) };
        let (model, token) = match source {
            RowSource::Zero => return Ok(Some(TokenRow::Zero)),
            RowSource::Model(model) => (model, Named::Text(rule.token)),
            RowSource::Token { model, token } => (model, token),
        };
        let (name, rows) = (self.models[model].name, self.models[model].rows);
        let refuse = |what: String| Error::user(format!("tokenizer.tokens: `{}`: `{name}` {what}", rule.token));
        let row = match token {
            Named::Id(id) => id,
            Named::Text(text) => *self.tokens[model].ids.get(text).ok_or_else(|| {
                let known = self.tokens[model].texts.iter().flatten().copied();
                let near = did_you_mean(text, known.filter(|text| self.tokens[model].added.contains_key(text)));
                refuse(format!("has no token `{text}`")).hint(near.map_or_else(
                    || "name a model that has it, or `kind: zero`".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ))
            })?,
        };
        if row < rows {
            return Ok(Some(TokenRow::At { model, row }));
        }
        Err(refuse(format!("has no row {row}: its embedding has {rows}"))
            .hint("name a token that it was trained with, or `kind: zero`"))
    }
}
