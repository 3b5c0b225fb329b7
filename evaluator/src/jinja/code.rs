//! Reads the code of a template before it is parsed: bounds its nesting, and inserts filters that weigh its values.

mod operands;

/// The filter for every value that a `namespace` is given.
pub(super) const KEPT: &str = "evomerge_kept";
/// The filter that pays for all that a value holds, put on literal lists, tuples and dicts and on the left of `+`,
/// comparisons and `in`: nothing else makes a value of others, or looks through one, without paying.
pub(super) const WEIGHED: &str = "evomerge_weighed";
/// The filter for both sides of `*`: only flat lists are repeated.
pub(super) const REPEATED: &str = "evomerge_repeated";

/// A template with its filters, and a bound of its nesting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Code {
    /// The template, in which `{% set n.a = b %}` has become `{% set n.a = (b)|evomerge_kept %}`, and so on.
    pub(super) text: String,
    /// Number of its tags, their operators and opening brackets, and the brackets that were added.
    pub(super) nesting: usize,
}

/// Words that are operators, or that nest one tag in another.
const OPERATORS: [&str; 8] = ["not", "and", "or", "is", "in", "if", "elif", "else"];

/// Reads a template; the parser reports what is wrong with it.
pub(super) fn read(template: &str) -> Code {
    let mut code = Code { text: String::with_capacity(template.len()), nesting: 0 };
    let mut rest = template;
    while let Some(at) = start(rest) {
        code.text += &rest[..at];
        let tag = &rest[at..];
        let end = match &tag[..2] {
            "{#" => tag.find("#}").map(|end| end + 2),
            "{%" if is_tag(tag, "raw") => {
                tag.match_indices("{%").map(|(end, _)| end).find(|end| is_tag(&tag[*end..], "endraw"))
            }
            "{%" => end_of_code(tag, "%}"),
            _ => end_of_code(tag, "}}"),
        };
        let end = end.unwrap_or(tag.len());
        code.add(&tag[..end]);
        rest = &tag[end..];
    }
    code.text += rest;
    code
}

/// Index of the next tag or comment.
fn start(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| text[at + 1..].starts_with(['{', '%', '#']))
}

impl Code {
    fn add(&mut self, tag: &str) {
        self.nesting += 1;
        if tag.starts_with("{#") || is_tag(tag, "raw") {
            self.text += tag;
            return;
        }
        let mut chars = CodeChars::of(tag);
        while let Some((at, c)) = chars.next() {
            if c.is_alphanumeric() || c == '_' {
                let word = word(&tag[at..]);
                self.nesting += usize::from(OPERATORS.contains(&word));
                chars.skip_to(at + word.len());
            } else if !c.is_whitespace() && !",:)]}".contains(c) {
                self.nesting += 1;
            }
        }
        let mut pieces = operands::pieces(tag);
        self.nesting += pieces.iter().filter(|(_, piece)| piece == "(").count();
        if let Some((from, to, filter)) = set(tag) {
            pieces.extend([(from, "(".to_owned()), (to, format!(")|{filter} "))]);
        }
        pieces.sort_by_key(|(at, _)| *at);
        let mut from = 0;
        for (at, piece) in pieces {
            self.text.extend([&tag[from..at], &piece]);
            from = at;
        }
        self.text += &tag[from..];
    }
}

/// The range of the value in `{% set a = value %}`, and the filter for it.
fn set(tag: &str) -> Option<(usize, usize, &'static str)> {
    let inside = tag.strip_prefix("{%")?.trim_start_matches(['-', '+']).trim_start();
    let target = inside.strip_prefix("set").filter(|rest| rest.starts_with([' ', '\t', '\r', '\n', '(']))?;
    let from = tag.len() - target.len() + target.find('=')? + 1;
    let end = tag.strip_suffix("%}")?.trim_end_matches(['-', '+']).len();
    let filter = if tag[tag.len() - target.len()..from].contains('.') { KEPT } else { WEIGHED };
    (from <= end).then_some((from, end, filter))
}

/// True if a tag is `{% name … %}`. Nothing is code between `{% raw %}` and its end.
fn is_tag(tag: &str, name: &str) -> bool {
    let inside = tag.strip_prefix("{%").map(|inside| inside.trim_start_matches(['-', '+']).trim_start());
    inside.is_some_and(|inside| word(inside) == name)
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// Index after the end of a tag: its mark outside of texts and brackets.
fn end_of_code(tag: &str, mark: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut chars = CodeChars::of(tag);
    chars.skip_to(2);
    while let Some((at, c)) = chars.next() {
        if depth == 0 && tag[at..].starts_with(mark) {
            return Some(at + mark.len());
        }
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// The characters of code outside of texts.
struct CodeChars<'a> {
    code: &'a str,
    at: usize,
}

impl<'a> CodeChars<'a> {
    fn of(code: &'a str) -> Self {
        Self { code, at: 0 }
    }

    fn skip_to(&mut self, at: usize) {
        self.at = at;
    }

    fn next(&mut self) -> Option<(usize, char)> {
        loop {
            let at = self.at;
            let c = self.code[at..].chars().next()?;
            self.at += c.len_utf8();
            if c != '\'' && c != '"' {
                return Some((at, c));
            }
            let mut escaped = false;
            for letter in self.code[self.at..].chars() {
                self.at += letter.len_utf8();
                match letter {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    _ if letter == c => break,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, read};

    fn check(template: &str, text: &str, nesting: usize) {
        assert_eq!(read(template), Code { text: text.to_owned(), nesting }, "{template}");
    }

    #[test]
    fn what_is_made_of_others_is_weighed() {
        let same = |template: &str, nesting| check(template, template, nesting);
        check("{% set n.a = 1 -%} x", "{% set n.a =( 1 )|evomerge_kept -%} x", 7);
        check("{%-set(n.a, b)=x, 'a=%}' -%}", "{%-set(n.a, b)=(x, 'a=%}' )|evomerge_kept -%}", 9);
        check("{% set a = n.b %}", "{% set a =( n.b )|evomerge_weighed %}", 6);
        same("{% set n.a %}text{% endset %}", 9);
        same("{% raw %}{% set n.a = 1 %}{% endraw %}", 5);
        same("{# {% set n.a = 1 %} #}", 1);
        same("{{ '}}' ~ \"{{\\\"\" }}", 4);
        same("{% if", 4);
        same("text, {but} no code", 0);
        let code = |from: &str, to: &str, nesting| check(&format!("{{{{{from}}}}}"), &format!("{{{{{to}}}}}"), nesting);
        let (w, r) = ("|evomerge_weighed", "|evomerge_repeated");
        code("{'a': {'b': 1}}", &format!("({{'a': ({{'b': 1}}{w})}}{w})"), 7);
        code("not x and y if z else [1, 2]", &format!("not x and y if z else ([1, 2]{w})"), 9);
        code("(a), (a, f(b)), m[1:][0]", &format!("(a), ((a, f(b)){w}), m[1:][0]"), 9);
        code("- a+[b] + 'c' -", &format!("- a{w}+([b]{w}){w} + 'c' -"), 9);
        code("a.in == b not in(c,d)", &format!("a.in{w} == b{w} not in((c,d){w})"), 11);
        code("2 * a.b(c)|d(e)[0] if f", &format!("2{r} * a.b(c)|d(e)[0]{r} if f"), 10);
        code("f(*a, **b) // c ** -d * 'e'", &format!("f(*a, **b) // c ** -d{r} * 'e'{r}"), 13);
        let tag = |from: &str, to: &str, nesting| check(&format!("{{%{from}%}}"), &format!("{{%{to}%}}"), nesting);
        tag("- for a, (b, c) in [d] if b != c +", &format!("- for a, (b, c) in ([d]{w}) if b{w} != c +"), 13);
        tag(" with (a, b) = c, d = [e]", &format!(" with (a, b) = c, d = ([e]{w})"), 9);
        tag(" macro f(a=[b], c='[', d)", &format!(" macro f(a=([b]{w}), c='[', d)"), 9);
    }
}
