//! A prompt with `{field}`s, filled from an item.

use merge_core::error::{Error, Result, did_you_mean};
use serde_json::{Map, Value};

/// A prompt with holes for an item's fields.
#[derive(Debug)]
pub(super) struct Prompt {
    /// As it was written.
    pub(super) text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Field(String),
}

impl Prompt {
    /// Reads `問題：{question}\n答え：`; `{{` and `}}` stand for a brace.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let field = after.find(['{', '}']).filter(|end| *end > 0 && after[*end..].starts_with('}'));
            let Some(end) = field.filter(|_| brace == "{") else {
                return Err(Error::user(format!("the `{brace}` in the prompt belongs to no field"))
                    .hint(format!("a field is written `{{question}}`, a brace `{brace}{brace}`")));
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Field(after[..end].to_string()));
            rest = &after[end + 1..];
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        if !pieces.iter().any(|piece| matches!(piece, Piece::Field(_))) {
            return Err(Error::user("the prompt is the same for every item")
                .hint("name the item's fields in it, such as `{question}`"));
        }
        Ok(Self { text: text.to_string(), pieces })
    }

    /// The prompt for one item.
    pub(super) fn fill(&self, item: &Map<String, Value>) -> Result<String> {
        let mut prompt = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => prompt.push_str(text),
                Piece::Field(name) => match field(item, name)? {
                    Value::String(text) => prompt.push_str(text),
                    Value::Number(number) => prompt.push_str(&number.to_string()),
                    _ => {
                        return Err(Error::user(format!("`{name}` is neither text nor a number"))
                            .hint(format!("the prompt names `{{{name}}}`")));
                    }
                },
            }
        }
        Ok(prompt)
    }
}

/// A field of an item.
pub(super) fn field<'a>(item: &'a Map<String, Value>, name: &str) -> Result<&'a Value> {
    item.get(name).ok_or_else(|| {
        let known = item.keys().map(String::as_str);
        let list = known.clone().collect::<Vec<_>>().join("`, `");
        let error = Error::user(format!("the item has no field `{name}`"));
        match did_you_mean(name, known) {
            Some(near) => error.hint(format!("did you mean `{near}`? its fields are `{list}`")),
            None => error.hint(format!("its fields are `{list}`")),
        }
    })
}
