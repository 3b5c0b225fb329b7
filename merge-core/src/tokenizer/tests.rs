//! Vocabularies compared with mergekit and the tokenizers crate, and each rule on small vocabularies.

mod files;
mod mergekit;

use super::*;
use serde_json::{Value, json};

/// A tokenizer of whole words, then added tokens.
fn words(words: &[&str], added: &[&str]) -> Value {
    let vocab: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let added: Vec<Value> = added
        .iter()
        .enumerate()
        .map(|(id, text)| {
            json!({ "id": words.len() + id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true })
        })
        .collect();
    json!({ "added_tokens": added, "model": { "type": "WordLevel", "vocab": vocab, "unk_token": words[0] } })
}

/// A tokenizer of pieces with scores; ids are positions.
fn pieces(pieces: &[&str]) -> Value {
    let vocab: Vec<Value> = pieces.iter().map(|piece| json!([piece, -1.0])).collect();
    json!({ "added_tokens": [], "model": { "type": "Unigram", "vocab": vocab, "unk_id": 0 } })
}

fn spec<'a>(source: VocabularySource, rules: &[TokenRule<'a>]) -> Spec<'a> {
    Spec { source, base: 0, rules: rules.to_vec(), pad_to_multiple_of: None }
}

fn rule<'a>(token: &'a str, source: Option<RowSource<'a>>, force: bool) -> TokenRule<'a> {
    TokenRule { token, source, force }
}

fn at(model: usize, row: usize) -> TokenRow {
    TokenRow::At { model, row }
}

fn aligned(spec: &Spec<'_>, models: &[(&Value, usize)]) -> crate::error::Result<Alignment> {
    let names = ["a", "b", "c"];
    let models = models.iter().zip(names).map(|((tokenizer, rows), name)| Vocabulary { name, tokenizer, rows: *rows });
    align(spec, &models.collect::<Vec<_>>())
}

/// Texts of a tokenizer by id, according to its file.
fn texts(tokenizer: &Value) -> Vec<String> {
    let mut texts: Vec<(u64, String)> = match &tokenizer["model"]["vocab"] {
        Value::Array(pieces) => (0..).zip(pieces.iter().map(|piece| piece[0].as_str().unwrap().to_owned())).collect(),
        vocab => vocab.as_object().unwrap().iter().map(|(text, id)| (id.as_u64().unwrap(), text.clone())).collect(),
    };
    for token in tokenizer["added_tokens"].as_array().unwrap() {
        texts.push((token["id"].as_u64().unwrap(), token["content"].as_str().unwrap().to_owned()));
    }
    texts.sort();
    texts.dedup();
    assert!(texts.iter().enumerate().all(|(position, (id, _))| position as u64 == *id), "no gap: {texts:?}");
    texts.into_iter().map(|(_, text)| text).collect()
}

/// Aligns models, each with its number of rows, and checks the tokens and every model's rows.
fn check(spec: &Spec<'_>, models: &[(&Value, usize)], tokens: &[&str], rows: &[Option<&[TokenRow]>]) -> Alignment {
    let found = aligned(spec, models).unwrap();
    assert_eq!(texts(&found.tokenizer), tokens);
    let found_rows: Vec<Option<&[TokenRow]>> = found.rows.iter().map(Option::as_deref).collect();
    assert_eq!(found_rows, rows);
    found
}

fn refused(spec: &Spec<'_>, models: &[(&Value, usize)], message: &str) {
    let error = aligned(spec, models).unwrap_err();
    assert_eq!(error.to_string(), message);
    assert!(error.advice().is_some());
}

#[test]
fn a_union_is_the_base_then_each_models_own_tokens_by_id() {
    let (a, b, c) = (words(&["u", "x"], &["<s>"]), words(&["u", "z", "y"], &["<b>"]), words(&["q", "u", "z"], &[]));
    let found = check(
        &spec(VocabularySource::Union, &[]),
        &[(&a, 3), (&b, 4), (&c, 3)],
        &["u", "x", "<s>", "z", "y", "<b>", "q"],
        &[
            // `z` is not in the base: the mean over its two owners. The others have one owner each.
            Some(&[at(0, 0), at(0, 1), at(0, 2), TokenRow::Mean(vec![(1, 1), (2, 2)]), at(1, 2), at(1, 3), at(2, 0)]),
            Some(&[at(1, 0), at(0, 1), at(0, 2), at(1, 1), at(1, 2), at(1, 3), at(2, 0)]),
            Some(&[at(2, 1), at(0, 1), at(0, 2), at(2, 2), at(1, 2), at(1, 3), at(2, 0)]),
        ],
    );
    let added = found.tokenizer["added_tokens"].as_array().unwrap();
    // Special tokens stay special; an ordinary token becomes an added one that is not special.
    let special: Vec<bool> = added.iter().map(|token| token["special"].as_bool().unwrap()).collect();
    assert_eq!(special, [true, false, false, true, false]);
}

#[test]
fn a_base_keeps_its_tokens_and_gives_its_rows_before_a_mean() {
    let (a, b, c) = (words(&["u", "x"], &[]), words(&["x"], &[]), words(&["u"], &[]));
    check(
        &Spec { base: 1, ..spec(VocabularySource::Model(0), &[]) },
        &[(&a, 2), (&b, 1), (&c, 1)],
        &["u", "x"],
        &[None, Some(&[TokenRow::Mean(vec![(0, 0), (2, 0)]), at(1, 0)]), Some(&[at(2, 0), at(1, 0)])],
    );
}

#[test]
fn ids_beyond_the_rows_are_no_rows() {
    // The base names `<pad>`, but has no row for it: `base` leaves it out, as in mergekit.
    let (a, b) = (words(&["u", "x"], &["<pad>"]), words(&["x", "u"], &[]));
    check(&spec(VocabularySource::Base, &[]), &[(&a, 2), (&b, 2)], &["u", "x"], &[None, Some(&[at(1, 1), at(1, 0)])]);
    // Another model's token without a row: mergekit fails with a KeyError.
    let found = check(
        &spec(VocabularySource::Union, &[]),
        &[(&b, 2), (&a, 2)],
        &["x", "u", "<pad>"],
        &[Some(&[at(0, 0), at(0, 1), TokenRow::Zero]), Some(&[at(1, 1), at(1, 0), TokenRow::Zero])],
    );
    assert_eq!(found.notes, ["`<pad>`: in no model's embedding, so its row is set to zeros"]);
    // A tokenizer that is chosen by name stays whole.
    let zero = [at(0, 0), at(0, 1), TokenRow::Zero];
    check(
        &spec(VocabularySource::Model(0), &[]),
        &[(&a, 2), (&b, 2)],
        &["u", "x", "<pad>"],
        &[Some(&zero), Some(&[at(1, 1), at(1, 0), TokenRow::Zero])],
    );
}

#[test]
fn equal_vocabularies_stay_as_they_are_with_their_padding() {
    let (a, b) = (words(&["u", "x"], &["<s>"]), words(&["u", "x"], &["<s>"]));
    for source in [VocabularySource::Union, VocabularySource::Base, VocabularySource::Model(1)] {
        let found = check(&spec(source, &[]), &[(&a, 8), (&b, 8)], &["u", "x", "<s>"], &[None, None]);
        assert_eq!((found.len, found.notes.len()), (8, 0));
    }
    // If padding is asked for, or the numbers of rows differ, there is a row for each token.
    let padded = Spec { pad_to_multiple_of: Some(4), ..spec(VocabularySource::Union, &[]) };
    let own = |model| [at(model, 0), at(model, 1), at(model, 2), TokenRow::Average];
    check(&padded, &[(&a, 8), (&b, 8)], &["u", "x", "<s>"], &[Some(&own(0)), Some(&own(1))]);
    let found = check(
        &spec(VocabularySource::Union, &[]),
        &[(&a, 8), (&b, 3)],
        &["u", "x", "<s>"],
        &[Some(&[at(0, 0), at(0, 1), at(0, 2)]), None],
    );
    assert_eq!(found.notes, ["3 rows, one for each token, where `a` has 8: `pad_to_multiple_of` pads them"]);
}

#[test]
fn rules_say_where_rows_come_from() {
    let (a, b) = (words(&["u", "x", "y"], &[]), words(&["u", "z"], &[]));
    let by_text = RowSource::Token { model: 1, token: Named::Text("u") };
    let by_id = RowSource::Token { model: 1, token: Named::Id(1) };
    let rules = [
        rule("x", Some(by_id), false),
        rule("y", Some(RowSource::Zero), true),
        rule("u", Some(RowSource::Model(1)), true),
        rule("z", None, true),
        rule("new", Some(by_text), false),
    ];
    check(
        &spec(VocabularySource::Union, &rules),
        &[(&a, 3), (&b, 2)],
        &["u", "x", "y", "z", "new"],
        &[
            Some(&[at(1, 0), at(0, 1), TokenRow::Zero, at(1, 1), at(1, 0)]),
            Some(&[at(1, 0), at(1, 1), TokenRow::Zero, at(1, 1), at(1, 0)]),
        ],
    );
    let one = |source| spec(VocabularySource::Union, &[rule("x", Some(source), false)]);
    let models = [(&a, 3), (&b, 2)];
    refused(&one(RowSource::Model(1)), &models, "tokenizer.tokens: `x`: `b` has no token `x`");
    let far = RowSource::Token { model: 1, token: Named::Id(2) };
    refused(&one(far), &models, "tokenizer.tokens: `x`: `b` has no row 2: its embedding has 2");
}

#[test]
fn pieces_are_numbered_by_their_place() {
    let (a, b) = (pieces(&["<unk>", "▁a"]), pieces(&["<unk>", "▁b", "▁a"]));
    check(
        &spec(VocabularySource::Union, &[]),
        &[(&a, 2), (&b, 3)],
        &["<unk>", "▁a", "▁b"],
        &[Some(&[at(0, 0), at(0, 1), at(1, 1)]), Some(&[at(1, 0), at(1, 2), at(1, 1)])],
    );
    let found = check(
        &spec(VocabularySource::Base, &[]),
        &[(&b, 2), (&a, 2)],
        &["<unk>", "▁b"],
        &[None, Some(&[at(1, 0), at(0, 1)])],
    );
    assert_eq!(found.ids, [Some(vec![Some(0), Some(1), None]), Some(vec![Some(0), None])]);
}

#[test]
fn merges_go_with_their_tokens() {
    for merges in [json!(["a b", "ab c", "b c"]), json!([["a", "b"], ["ab", "c"], ["b", "c"]])] {
        let vocab = json!({ "a": 0, "b": 1, "c": 2, "bc": 3, "ab": 4, "abc": 5 });
        let a = json!({ "added_tokens": [], "model": { "type": "BPE", "vocab": vocab, "merges": merges.clone() } });
        let found = check(
            &spec(VocabularySource::Base, &[]),
            &[(&a, 4), (&words(&["a"], &[]), 1)],
            &["a", "b", "c", "bc"],
            &[None, Some(&[at(1, 0), at(0, 1), at(0, 2), at(0, 3)])],
        );
        assert_eq!(found.tokenizer["model"]["merges"], json!([merges[2]]));
    }
}

#[test]
fn the_first_definition_of_an_added_token_wins() {
    let a = words(&["u", "x"], &["<s>"]);
    let mut b = words(&["u"], &["x", "<s>"]);
    b["added_tokens"][1]["lstrip"] = json!(true);
    let found = aligned(&spec(VocabularySource::Union, &[]), &[(&a, 3), (&b, 3)]).unwrap();
    assert_eq!(texts(&found.tokenizer), ["u", "x", "<s>"]);
    let added = &found.tokenizer["added_tokens"];
    // `x` was an ordinary token of the base; `<s>` stays as in the base.
    assert_eq!((&added[0]["content"], &added[0]["special"]), (&json!("x"), &json!(true)));
    assert_eq!((&added[1]["content"], &added[1]["lstrip"]), (&json!("<s>"), &json!(false)));
    assert_eq!(found.notes, ["`<s>`: `b` defines it differently; the first definition is used"]);
}

#[test]
fn a_tokenizer_that_cannot_be_read_or_grown_is_refused() {
    let good = words(&["u", "x"], &[]);
    let odd = json!({ "model": { "vocab": { "u": -1 } } });
    let union = spec(VocabularySource::Union, &[]);
    refused(&union, &[(&json!({}), 2), (&good, 2)], "`a`: tokenizer.json: there is no model.vocab in it");
    let message = "`b`: tokenizer.json: an id in model.vocab is not a whole number, or too great";
    refused(&union, &[(&good, 2), (&odd, 2)], message);
    let gap = json!({ "model": { "vocab": { "u": 0, "v": 2 } } });
    let message = "`a`: tokenizer.json: its ids have gaps, so no token can be added to it";
    refused(&union, &[(&gap, 3), (&good, 2)], message);
}
