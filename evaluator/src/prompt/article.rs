//! Cuts articles of too long prompts at the ends of sentences, as `XLSumJa.preprocess_ctx` of Stability AI.

use super::Tokenizer;
use crate::request::Prompt;
use merge_core::error::Result;

/// The text of a prompt whose articles are cut to fit into `room` tokens.
///
/// Each article, with the text before it, gets an equal share. If it is cut, it ends with the last
/// sentence that fits and with `stop`, which also ends an answer.
pub(crate) fn cut(prompt: &Prompt, stop: &str, room: usize, tokenizer: &Tokenizer) -> Result<String> {
    let around = |question: &str, article: &str| -> (String, String) {
        let (before, after) = question.split_once(article).unwrap_or((question, ""));
        (before.to_owned(), after.to_owned())
    };
    let questions = prompt.shots.iter().map(|shot| &shot.question).chain([&prompt.question]);
    let last = prompt.articles.last().map_or("", String::as_str);
    let (_, after) = around(&prompt.question, last);
    // The harness counts an introduction in the form of an example as one.
    let shares = prompt.articles.len() + usize::from(!after.is_empty() && prompt.head.contains(&after));
    let mut text = prompt.head.clone();
    for (i, (question, article)) in questions.zip(&prompt.articles).enumerate() {
        let (before, after) = around(question, article);
        let end = if stop.is_empty() { &after } else { after.trim_start_matches(stop) };
        let whole = format!("{before}{article}{}", &after[..after.len() - end.len()]);
        text += &sentences(&whole, stop, room / shares, tokenizer)?;
        text += end;
        if let Some(shot) = prompt.shots.get(i) {
            text.extend([&shot.delimiter, &shot.answer, &shot.after].map(String::as_str));
        }
    }
    Ok(text)
}

/// The first sentences of a text that have at most `most` tokens; if the first has more, its beginning.
fn sentences(text: &str, stop: &str, most: usize, tokenizer: &Tokenizer) -> Result<String> {
    let mut kept: Option<String> = None;
    for sentence in text.split('。') {
        let longer = kept.as_ref().map_or_else(|| sentence.to_owned(), |kept| format!("{kept}。{sentence}"));
        let tokens = tokenizer.encode_continuation(&longer)?;
        if tokens.len() > most {
            return Ok(match kept {
                Some(kept) => format!("{kept}。{stop}"),
                None => tokenizer.decode(&tokens[..most])? + stop,
            });
        }
        kept = Some(longer);
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{answer::tests::Memory, request::Shot};
    use serde_json::Value;

    /// Prompts cut by the harness's own function with the tokenizer of `ja`.
    #[test]
    fn cuts_as_the_harness_does() {
        let tokenizer = Memory::open("ja").load().unwrap().tokenizer().clone();
        let cases: Vec<Value> = serde_json::from_str(include_str!("tests/article.json")).unwrap();
        for case in &cases {
            let text = |key: &str| case[key].as_str().unwrap().to_owned();
            let question = |article: &str| text("question").replace("{}", article);
            let articles: Vec<String> = serde_json::from_value(case["articles"].clone()).unwrap();
            let shot = Shot {
                question: question(&articles[0]),
                answer: text("answer"),
                after: text("after"),
                ..Shot::default()
            };
            let prompt = Prompt { head: text("head"), shots: vec![shot], question: question(&articles[1]), articles };
            let room = case["room"].as_u64().unwrap() as usize;
            assert_eq!(cut(&prompt, &text("stop"), room, &tokenizer).unwrap(), text("cut"), "{room}: {case}");
        }
    }
}
