//! Finds the places in a tag where values are weighed: after lists, tuples and dicts, and before operators.

use super::{CodeChars, REPEATED, WEIGHED, is_tag, word};

/// The pieces to insert into a tag, each with its index; pieces at one index are in order.
pub(super) fn pieces(tag: &str) -> Vec<(usize, String)> {
    let Some(inside) = tag.strip_suffix("%}").or_else(|| tag.strip_suffix("}}")) else { return Vec::new() };
    let end = inside.trim_end_matches(['-', '+']).len();
    let mut reader = TagReader { tag, is_target: is_tag(tag, "for"), ..TagReader::default() };
    let mut chars = CodeChars::of(tag);
    chars.skip_to(2 + usize::from(tag[2..].starts_with(['-', '+'])));
    loop {
        let before = chars.at;
        let Some((at, c)) = chars.next() else { break };
        if at > before {
            // A text was skipped.
            reader.operand(at);
        }
        if at >= end {
            break;
        }
        if c.is_alphanumeric() || c == '_' {
            let word = word(&tag[at..]);
            reader.word(at, word);
            chars.skip_to(at + word.len());
        } else if !c.is_whitespace() {
            chars.skip_to(at + reader.symbol(at, c));
        }
    }
    reader.end_of_repeated();
    reader.pieces
}

#[derive(Default)]
struct TagReader<'a> {
    tag: &'a str,
    pieces: Vec<(usize, String)>,
    open: Vec<Bracket>,
    /// True if an operand was read, and no operator after it.
    is_operand: bool,
    /// True if the next word is a name, not a keyword.
    is_name: bool,
    /// True before the `in` of `for`, where names are assigned.
    is_target: bool,
    /// Index where the last operand ends.
    last: usize,
    /// Number of open brackets at each `*` whose right side is being read.
    repeated: Vec<usize>,
}

struct Bracket {
    at: usize,
    /// True if it begins a value, false for an index or arguments.
    begins: bool,
    is_round: bool,
    has_comma: bool,
}

impl TagReader<'_> {
    fn operand(&mut self, end: usize) {
        (self.is_operand, self.is_name, self.last) = (true, false, end);
    }

    fn word(&mut self, at: usize, word: &str) {
        let end = at + word.len();
        if self.is_target {
            self.is_target = word != "in";
            return;
        }
        if self.is_name {
            return self.operand(end);
        }
        match word {
            "in" | "not" => self.operator(Some(WEIGHED)),
            "and" | "or" | "is" | "if" | "elif" | "else" => self.operator(None),
            _ => {
                self.end_of_repeated();
                self.operand(end);
            }
        }
    }

    /// Reads the symbol that begins with this character, and returns its length.
    fn symbol(&mut self, at: usize, c: char) -> usize {
        if self.is_target {
            return c.len_utf8();
        }
        let rest = &self.tag[at..];
        if let Some(double) = ["==", "!=", "<=", ">=", "**", "//"].into_iter().find(|two| rest.starts_with(two)) {
            self.operator((!matches!(double, "**" | "//")).then_some(WEIGHED));
            return 2;
        }
        match c {
            '(' | '[' | '{' => {
                let begins = !self.is_operand;
                self.open.push(Bracket { at, begins, is_round: c == '(', has_comma: false });
                self.is_operand = false;
            }
            ')' | ']' | '}' => self.close(at),
            '.' | '|' => (self.is_operand, self.is_name) = (false, true),
            '+' | '<' | '>' => self.operator(Some(WEIGHED)),
            '*' if self.is_operand => {
                self.operator(Some(REPEATED));
                self.repeated.push(self.open.len());
            }
            _ => {
                self.operator(None);
                if c == ','
                    && let Some(bracket) = self.open.last_mut()
                {
                    bracket.has_comma = true;
                }
            }
        }
        c.len_utf8()
    }

    /// Reads an operator; `filter` is for its left side.
    fn operator(&mut self, filter: Option<&str>) {
        self.end_of_repeated();
        if let Some(filter) = filter.filter(|_| self.is_operand) {
            self.pieces.push((self.last, format!("|{filter}")));
        }
        (self.is_operand, self.is_name) = (false, false);
    }

    fn close(&mut self, at: usize) {
        self.end_of_repeated();
        let end = at + 1;
        if let Some(Bracket { at, begins: true, is_round, has_comma }) = self.open.pop()
            && (has_comma || !is_round)
            && !is_target(&self.tag[end..])
        {
            self.pieces.extend([(at, "(".to_owned()), (end, format!("|{WEIGHED})"))]);
        }
        self.operand(end);
    }

    /// Ends the right side of a `*`, which includes its filters.
    fn end_of_repeated(&mut self) {
        while self.is_operand && self.repeated.pop_if(|depth| *depth == self.open.len()).is_some() {
            self.pieces.push((self.last, format!("|{REPEATED}")));
        }
    }
}

/// True if brackets are assigned a value, instead of being one.
fn is_target(after: &str) -> bool {
    let after = after.trim_start();
    after.starts_with('=') && !after.starts_with("==")
}
