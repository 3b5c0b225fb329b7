//! Checks the vocabulary and the chat template.

use crate::{
    recipe::Recipe,
    yaml::{At, Mistake, known_names},
};

/// Largest `pad_to_multiple_of`: padding serves the hardware, and a larger number is a slip.
const MOST_PADDING: usize = 1 << 16;

/// Names of the chat templates that a recipe may ask for; `auto` is the one that most of the models have.
const CHAT_TEMPLATES: [&str; 6] = ["auto", "alpaca", "chatml", "exaone", "llama3", "mistral"];

pub(super) fn check<S>(recipe: &Recipe<S>) -> Result<(), Mistake> {
    if let (Some(_), Some(legacy)) = (&recipe.tokenizer, &recipe.tokenizer_source) {
        return Err(Mistake::new("`tokenizer` and `tokenizer_source` exclude each other")
            .hint("write `tokenizer: {source: …}`")
            .under("tokenizer_source")
            .at(legacy.place));
    }
    let tokenizer = check_tokenizer(recipe).map_err(|mistake| mistake.under("tokenizer"));
    tokenizer.and_then(|()| recipe.chat_template.as_ref().map_or(Ok(()), check_template))
}

fn check_tokenizer<S>(recipe: &Recipe<S>) -> Result<(), Mistake> {
    let Some(tokenizer) = &recipe.tokenizer else { return Ok(()) };
    if let Some(rows) = tokenizer.pad_to_multiple_of.filter(|rows| !(1..=MOST_PADDING).contains(&rows.value)) {
        let mistake = Mistake::new(match rows.value {
            0 => "it must be at least 1".to_owned(),
            n => format!("a multiple of {n} would be mostly padding"),
        });
        let hint = format!("give a number from 1 to {MOST_PADDING}, such as 64");
        return Err(mistake.hint(hint).under("pad_to_multiple_of").at(rows.place));
    }
    let merged: Vec<&str> = recipe.merged().into_iter().map(|model| model.as_str()).collect();
    for (token, rule) in &tokenizer.tokens {
        let Some(source) = &rule.source else { continue };
        if let Some(model) = source.model().filter(|model| !merged.contains(model)) {
            let mistake = Mistake::new(format!("`{model}` is not a model of this merge"));
            let hint = known_names(model, "its models", merged.iter().copied());
            return Err(mistake.hint(hint).under("source").under(token).under("tokens").at(source.place));
        }
    }
    Ok(())
}

fn check_template(template: &At<String>) -> Result<(), Mistake> {
    // mergekit's own rule for a text that is a template.
    let is_text = template.contains('{') && template.chars().count() >= 20;
    if is_text || CHAT_TEMPLATES.contains(&template.as_str()) {
        return Ok(());
    }
    let known = known_names(template, "known ones", CHAT_TEMPLATES);
    Err(Mistake::new(format!("there is no chat template `{}`", template.value))
        .hint(format!("{known}; or write a Jinja template"))
        .under("chat_template")
        .at(template.place))
}
