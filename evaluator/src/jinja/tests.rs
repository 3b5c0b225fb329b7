//! What a template may do is done, and all that has no end ends in an error.

use super::{add, environment, fill, what};
use minijinja::{Value, context, syntax::SyntaxConfig};

fn filled(template: &str) -> Result<String, String> {
    let mut environment = environment(SyntaxConfig::default());
    add(&mut environment, "t", template).map_err(|e| what(&e))?;
    let values = context! { q => "問題", list => vec![1, 2, 3], none => Value::from(()) };
    fill(&environment, "t", values).map_err(|e| what(&e))
}

/// The template, and the text or the error.
fn check(template: &str, expected: Result<&str, &str>) {
    let found = filled(template);
    let found = found.as_deref().map_err(String::as_str);
    assert_eq!(found, expected, "{}", template.chars().take(80).collect::<String>());
}

const STEPS: Result<&str, &str> = Err("it takes more than 2000000 steps, of which each also pays for 64 bytes of text");
const NESTED: Result<&str, &str> = Err("it has more than 10000 operators, brackets and tags");

#[test]
fn does_what_templates_do() {
    check(
        "{% set ns = namespace(found=false) %}{% for x in list %}{% set ns.found = x %}{% endfor %}{{ ns.found }}",
        Ok("3"),
    );
    check("{% set ns = namespace() %}{% set ns.a = list + [4] -%}\n {{ ns.a|length }}", Ok("4"));
    check("{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(9) }}", Ok("9876543210"));
    check("{{ q.split('題') }} {{ '%03d'|format(7) }} {{ 'ab'|indent(2) }}", Ok("['問', ''] 007 ab"));
    check(&format!("{{{{ {}1 }}}}", "1 + ".repeat(4_000)), Ok("4001"));
}

#[test]
fn what_has_no_end_ends() {
    check("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", STEPS);
    check("{{ q|indent(1000000000) }}", STEPS);
    check("{{ '%1000000000d'|format(5) }}", STEPS);
    check("{{ 'a' * 1000000000 }}", STEPS);
    check("{{ ([q] * 100000000)|join('') }}", STEPS);
    check("{{ q.replace('', 'a' * 10000000).replace('', 'b' * 10000000) }}", STEPS);
    let doubled = "{% set a = [a, a] %}".repeat(60);
    check(&format!("{{% set a = [q] %}}{doubled}{{{{ a }}}}"), STEPS);
    check(&format!("{{% set a = [q] %}}{doubled}{{{{ a ~ '' }}}}"), STEPS);
    check(&format!("{{% set a = [q] %}}{}{{{{ a }}}}", "{% set a = a + a %}".repeat(60)), STEPS);
    check("{{ [q] * 1000000000 }}", Err("repeated sequence is too large"));
}

#[test]
fn what_nests_too_deep_is_refused() {
    for piece in ["not ", "-", "1+", "(", "[", "1|string|", "q.a.", "1 if q else ", "q and ", "q[", "f(", "{1:"] {
        let (template, error) = (format!("{{{{ {}1 }}}}", piece.repeat(100_000)), NESTED);
        check(&template, error);
    }
    check(&"{% if q %}{% elif q %}".repeat(100_000), NESTED);
    check(&"{% for x in q %}".repeat(100_000), NESTED);
    for piece in ["not ", "-", "1|string|", "(", "[", "1 if q else "] {
        // What it comes to is minijinja's to say: it only may not overflow the stack.
        let _ = filled(&format!("{{{{ {}1 }}}}", piece.repeat(4_900)));
    }
    let _ = filled(&format!("{{% if q %}}{}{{% endif %}}", "{% elif q %}".repeat(1_900)));
    let _ = filled(&format!("{{% set a = [q] %}}{}{{{{ a }}}}", "{% set a = [a] %}".repeat(1_500)));
    let _ = filled(&format!("{{{{ q{} }}}}", "|batch(1)|list".repeat(3_000)));
    check("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", Err("recursion limit exceeded"));
    let _ = filled(&"line\n".repeat(100_000));
    let _ = filled(&format!("{{# {} #}}{{{{ q }}}}", "x".repeat(100_000)));
}

#[test]
fn a_namespace_holds_nothing_without_end() {
    let itself = Err("a namespace in a namespace, which could hold itself");
    check("{% set x = namespace() %}{% set x.a = x %}{{ x }}", itself);
    check("{% set x = namespace() %}{% set x.a = [1, {'b': x}] %}{{ x }}", itself);
    check("{% set x = namespace() %}{% set y = namespace(a=x) %}{{ y }}", itself);
    check(
        "{% set x = namespace(a=[]) %}{% for i in range(9999) %}{% set x.a = [x.a] %}{% endfor %}{{ x.a }}",
        Err("a namespace keeps values of 64 levels at most"),
    );
}
