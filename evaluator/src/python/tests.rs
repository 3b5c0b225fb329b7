//! Draws and texts, compared with `CPython`'s.

use super::{PythonRandom, dumps, literal, repr};
use serde_json::{Value, json};

#[track_caller]
fn check(what: &str, ours: impl Into<Value>, theirs: &Value) {
    assert_eq!(&ours.into(), theirs, "{what}");
}

/// Compares with draws of `CPython` 3.11.
#[test]
fn draws_what_python_draws() {
    let all: Value = serde_json::from_str(include_str!("random.json")).unwrap();
    for (seed, expected) in all.as_object().unwrap() {
        let random = || PythonRandom::new(seed.parse().unwrap());
        for (key, theirs) in expected.as_object().unwrap() {
            let what = format!("{seed} {key}");
            let numbers: Vec<usize> = key.split('_').filter_map(|part| part.parse().ok()).collect();
            let mut random = random();
            match (key.as_str(), &numbers[..]) {
                (_, [n, k]) => {
                    let drawn: Vec<Vec<usize>> =
                        theirs.as_array().unwrap().iter().map(|_| random.sample(*n, *k)).collect();
                    check(&what, json!(drawn), theirs);
                }
                ("getrandbits32", _) => check(&what, (0..5).map(|_| random.bits(32)).collect::<Vec<_>>(), theirs),
                ("shuffle10", _) => {
                    let mut items: Vec<usize> = (0..10).collect();
                    random.shuffle(&mut items);
                    check(&what, items, theirs);
                }
                ("choices10", _) => check(&what, random.choices(10, 10), theirs),
                ("random", _) => {
                    let drawn: Vec<f64> = theirs.as_array().unwrap().iter().map(|_| random.unit()).collect();
                    check(&what, drawn, theirs);
                }
                _ => panic!("{what} is new"),
            }
        }
    }
}

#[test]
fn seeds_with_more_than_one_word() {
    // random.Random(2**40 + 7).getrandbits(53), then .getrandbits(64)
    let mut random = PythonRandom::new((1 << 40) + 7);
    assert_eq!((random.bits(53), random.bits(64)), (6_731_298_720_428_250, 17_301_799_233_109_514_933));
}

#[test]
fn writes_values_as_python_does() {
    let value = json!({"a": [null, true, 1, 0.5, 1e16, 1e-5, 12.0], "b": "それ's\n\"\\\u{200b}", "c": []});
    let expected = r#"{'a': [None, True, 1, 0.5, 1e+16, 1e-05, 12.0], 'b': 'それ\'s\n"\\\u200b', 'c': []}"#;
    assert_eq!(repr(&value), expected);
    assert_eq!(literal(expected), Some(value.clone()));
    let line =
        r#"{"a": [null, true, 1, 0.5, 1e+16, 1e-05, 12.0], "b": "それ's\n\"\\"#.to_owned() + "\u{200b}\", \"c\": []}";
    assert_eq!(dumps(&value, None), line);
    assert_eq!(dumps(&json!({"a": [1], "b": {}}), Some(2)), "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
}

#[test]
fn reads_literals_and_nothing_else() {
    for (text, expected) in [
        ("[1, 'a', \"b\",]", Some(json!([1, "a", "b"]))),
        ("('a', 2)", Some(json!(["a", 2]))),
        ("('a')", Some(json!("a"))),
        ("[-1.5, None, '\\u3042' 'い']", Some(json!([-1.5, null, "あい"]))),
        ("[a]", None),
        ("[1 2]", None),
        ("['a'", None),
        ("['a\n']", None),
        ("[007]", None),
        ("", None),
    ] {
        assert_eq!(literal(text), expected, "{text}");
    }
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert!(literal(&nested(200)).is_some());
    assert_eq!(literal(&nested(1_000_000)), None);
}
