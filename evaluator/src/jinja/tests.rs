//! Valid templates work, and endless ones end in an error.

use super::{add, environment, fill, message};
use minijinja::{Value, context, syntax::SyntaxConfig};

fn filled(template: &str) -> Result<String, String> {
    let mut environment = environment(SyntaxConfig::default());
    add(&mut environment, "t", template).map_err(|e| message(&e))?;
    let values = context! { q => "問題", list => vec![1, 2, 3], none => Value::from(()) };
    fill(&environment, "t", values).map_err(|e| message(&e))
}

/// Checks the text or the error of a template.
fn check(template: &str, expected: Result<&str, &str>) {
    let found = filled(template);
    let found = found.as_deref().map_err(String::as_str);
    assert_eq!(found, expected, "{}", template.chars().take(80).collect::<String>());
}

const STEPS: Result<&str, &str> = Err("rendering takes more than 2000000 steps (64 bytes of text count as one step)");
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
fn what_is_shared_is_paid_for_however_it_got_its_name() {
    let with = |tail: &str| {
        let levels = (1..=40).map(|i| format!("{{% with a = [a, a], b = (b, b) %}}{}", if i < 40 { "" } else { tail }));
        format!("{{% with a = [q], b = [q] %}}{}{}", levels.collect::<String>(), "{% endwith %}".repeat(41))
    };
    let each = |tail: &str| {
        let levels = "{% for a in [{1: a, 2: a}] %}".repeat(40);
        format!("{{% for a in [[q]] %}}{levels}{tail}{}", "{% endfor %}".repeat(41))
    };
    let call = |value: &str, tail: &str| {
        let call = format!("{{{{ f({value}, n - 1) }}}}");
        format!(
            "{{% macro f(a, n) %}}{{% if n %}}{call}{{% else %}}{tail}{{% endif %}}{{% endmacro %}}{{{{ f([q], 40) }}}}"
        )
    };
    check(&with("{{ a == b }}"), STEPS);
    check(&each("{{ a|tojson|length }}"), STEPS);
    for value in ["[a, a]", "a + a", "dict(a=a, b=a)", "a|zip(a)|list"] {
        check(&call(value, "{{ a|pprint|length }}"), STEPS);
    }
    let once = "{% set a = [q] * 9999 %}{% set b = [q] * 9999 %}{% for i in range(9999) %}";
    for condition in ["a == b", "a is in [b]", "[b].count(a)"] {
        check(&format!("{once}{{% if {condition} %}}{{% endif %}}{{% endfor %}}"), STEPS);
    }
    check("{{ [1]|batch(9999, [1]|batch(9999, [1]|batch(9999, 1)|list)|list)|list|length }}", STEPS);
    check("{{ [[1] * 9] * 9 }}", Err("`*` cannot repeat a list of lists"));
    check("{{ 9 * [[1]] }}", Err("`*` cannot repeat a list of lists"));
    check("{{ [1]|tojson(indent=1000000000) }}", Err("an indent may have at most 64 spaces"));
    check("{{ debug() }}", Err("debug is unknown"));
}

#[test]
fn what_is_weighed_is_what_it_was() {
    check(
        "{{ [1, (2, 'x'), {'a': [list]}] }} {{ (1, 2)[0] }} {{ {'a': 1}.a }}",
        Ok("[1, (2, 'x'), {'a': [[1, 2, 3]]}] 1 1"),
    );
    check("{{ 1 + 2 * 3 ** 2 - 1 }} {{ [1] * 2 + [2] }} {{ 2 * 'ab' + 'c' }}", Ok("18 [1, 1, 2] ababc"));
    check(
        "{{ 1 < 2 }} {{ q not in ['a'] }} {{ 3 in list }} {{ none is none }} {{ 'b' is in ['b'] }}",
        Ok("True True True True True"),
    );
    check("{% for a, (b, c) in [(1, (2, 3))] if b == 2 %}{{ a + b + c }}{% endfor %}", Ok("6"));
    check("{% set a, (b, c) = (1, (2, 3)) %}{% with (d, e) = (4, 5) %}{{ a + c + e }}{% endwith %}", Ok("9"));
    check("{% macro f(a, b=[1, 2]) %}{{ b[a] }}{% endmacro %}{{ f(1) + f(*[0], **{'b': 'x'}) }}", Ok("2x"));
    check(
        "{{ [2, 1]|sort }} {{ list|zip('abc')|list }} {{ {'a': [1]}|tojson }} {{ list|tojson(2)|length }}",
        Ok("[1, 2] [(1, 'a'), (2, 'b'), (3, 'c')] {\"a\": [1]} 17"),
    );
    check(
        "{{ [{'k': 1}]|groupby('k')|length }} {{ list|select('>', 1)|list }} {{ list|batch(2)|list }}",
        Ok("1 [2, 3] [[1, 2], [3]]"),
    );
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
        // minijinja may give any result, but must not overflow the stack.
        let _ = filled(&format!("{{{{ {}1 }}}}", piece.repeat(4_900)));
    }
    let _ = filled(&format!("{{{{ {}1{} }}}}", "[".repeat(4_900), "]".repeat(4_900)));
    let _ = filled(&format!("{{% if q %}}{}{{% endif %}}", "{% elif q %}".repeat(1_900)));
    let _ = filled(&format!("{{% set a = [q] %}}{}{{{{ a }}}}", "{% set a = [a] %}".repeat(1_500)));
    let _ = filled(&format!("{{{{ q{} }}}}", "|batch(1)|list".repeat(3_000)));
    check("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", Err("recursion limit exceeded"));
    let _ = filled(&"line\n".repeat(100_000));
    let _ = filled(&format!("{{# {} #}}{{{{ q }}}}", "x".repeat(100_000)));
}

#[test]
fn a_namespace_holds_nothing_without_end() {
    let itself = Err("a namespace cannot hold a namespace, which could be itself");
    check("{% set x = namespace() %}{% set x.a = x %}{{ x }}", itself);
    check("{% set x = namespace() %}{% set x.a = [1, {'b': x}] %}{{ x }}", itself);
    check("{% set x = namespace() %}{% set y = namespace(a=x) %}{{ y }}", itself);
    check(
        "{% set x = namespace(a=[]) %}{% for i in range(9999) %}{% set x.a = [x.a] %}{% endfor %}{{ x.a }}",
        Err("a namespace keeps values of 64 levels at most"),
    );
}
