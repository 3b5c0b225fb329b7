//! `ast.literal_eval` for the values of templates: lists of texts and numbers.

use serde_json::{Map, Number, Value};

/// Most levels of brackets, as in Python's own parser.
const DEEPEST: usize = 200;

/// The value of a Python literal: numbers, texts, `None`, `True`, `False`, lists, tuples and dicts; `None` if it is not one.
pub fn literal(text: &str) -> Option<Value> {
    let mut reader = LiteralReader { rest: text.trim_matches([' ', '\t']), depth: 0 };
    let value = reader.value()?;
    reader.space();
    reader.rest.is_empty().then_some(value)
}

struct LiteralReader<'a> {
    rest: &'a str,
    depth: usize,
}

impl LiteralReader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, c: char) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self) -> Option<Value> {
        self.depth += 1;
        let value = if self.depth > DEEPEST { None } else { self.any() };
        self.depth -= 1;
        value
    }

    fn any(&mut self) -> Option<Value> {
        self.space();
        match self.rest.chars().next()? {
            '[' => self.items('[', ']').map(|(items, _)| Value::from(items)),
            '(' => {
                let (mut items, comma) = self.items('(', ')')?;
                // One value in parentheses, without a comma, is that value.
                if items.len() == 1 && !comma { items.pop() } else { Some(Value::from(items)) }
            }
            '{' => self.dict(),
            '\'' | '"' => {
                let mut all = String::new();
                while self.rest.starts_with(['\'', '"']) {
                    all += &self.text()?;
                    self.space();
                }
                Some(Value::from(all))
            }
            _ => self.word(),
        }
    }

    /// Reads values between brackets; also returns true if the last one is followed by a comma.
    fn items(&mut self, open: char, close: char) -> Option<(Vec<Value>, bool)> {
        let (mut items, mut comma) = (Vec::new(), false);
        self.eat(open);
        while !self.eat(close) {
            if !items.is_empty() && !comma {
                return None;
            }
            items.push(self.value()?);
            comma = self.eat(',');
        }
        Some((items, comma))
    }

    fn dict(&mut self) -> Option<Value> {
        let (mut fields, mut comma) = (Map::new(), true);
        self.eat('{');
        while !self.eat('}') {
            if !comma {
                return None;
            }
            let key = self.value()?;
            if !self.eat(':') {
                return None;
            }
            fields.insert(key.as_str()?.to_owned(), self.value()?);
            comma = self.eat(',');
        }
        Some(Value::from(fields))
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let (mut out, mut chars) = (String::new(), self.rest[1..].char_indices());
        loop {
            let (at, c) = chars.next()?;
            match c {
                c if c == quote => {
                    self.rest = &self.rest[1 + at + 1..];
                    return Some(out);
                }
                '\n' => return None,
                '\\' => {
                    let (_, escape) = chars.next()?;
                    let mut code = |digits: usize| {
                        let digits: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                        u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)
                    };
                    match escape {
                        '\n' => {}
                        'n' => out.push('\n'),
                        'r' => out.push('\r'),
                        't' => out.push('\t'),
                        '\\' | '\'' | '"' => out.push(escape),
                        'x' => out.push(code(2)?),
                        'u' => out.push(code(4)?),
                        'U' => out.push(code(8)?),
                        other => out.extend(['\\', other]),
                    }
                }
                c => out.push(c),
            }
        }
    }

    fn word(&mut self) -> Option<Value> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "None" => Some(Value::Null),
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            _ if word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) => {
                let digits = word.trim_start_matches(['-', '+']);
                // Python refuses whole numbers that begin with a zero.
                let padded = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
                match word.trim_start_matches('+').parse::<i64>() {
                    Ok(whole) if !padded => Some(Value::from(whole)),
                    Ok(_) => None,
                    Err(_) => word.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
                }
            }
            _ => None,
        }
    }
}
