//! Text as models write it in; normal forms, numbers and scripts out.

use super::{Number, is_japanese, normalize};

#[track_caller]
fn check<T: PartialEq + std::fmt::Debug>(what: impl Fn(&str) -> T, cases: &[(&str, T)]) {
    for (text, expected) in cases {
        assert_eq!(&what(text), expected, "of {text:?}");
    }
}

#[test]
fn folds_widths_signs_separators_and_space() {
    let cases = [
        ("１８", "18"),
        ("ＡＢＣ　ａｂｃ", "ABC abc"),
        ("ﾊﾞｽに９００００人", "バスに90000人"),
        ("５０％", "50%"),
        ("￥１，０００", "¥1000"),
        ("1,000", "1000"),
        ("1，000", "1000"),
        ("１，０００", "1000"),
        ("1,234,567.50円", "1234567.50円"),
        ("12,345、3,000", "12345、3000"),
        ("1,000,", "1000,"),
        ("1,2,3", "1,2,3"),
        ("10,50", "10,50"),
        ("1,0000", "1,0000"),
        ("1234,567", "1234,567"),
        ("1,000,50", "1,000,50"),
        ("0,123", "0,123"),
        ("0.123,456", "0.123,456"),
        ("１８．５", "18.5"),
        (" 一\n\n二\t　三 ", "一 二 三"),
        ("", ""),
        // Minus.
        ("−5", "-5"),
        ("－５", "-5"),
        ("–5", "-5"),
        ("—5", "-5"),
        ("‐5", "-5"),
        ("‑5", "-5"),
        ("答えはー5です", "答えは-5です"),
        ("−.5", "-.5"),
        ("−¥500", "-¥500"),
        ("–$5", "-$5"),
        ("57−55=2", "57-55=2"),
        ("57 − 55", "57 - 55"),
        ("57 – 55", "57 - 55"),
        ("57ー55", "57-55"),
        ("スーパー3個", "スーパー3個"),
        ("ﾃﾞｰﾀｰ3", "データー3"),
        ("――5個", "――5個"),
        ("東京—大阪", "東京—大阪"),
        // Digits in disguise.
        ("答えは①", "答えは1"),
        ("⑱個", "18個"),
        ("①18個", "①18個"),
        ("①②", "①②"),
        ("18㎡", "18㎡"),
        ("3²", "3²"),
        ("2½", "2½"),
        ("𝟏𝟖", "18"),
    ];
    for (text, expected) in cases {
        let once = normalize(text);
        assert_eq!(once, expected, "of {text:?}");
        assert_eq!(normalize(&once), once, "twice, of {text:?}");
    }
}

#[test]
fn compares_numbers_by_value() {
    let canonical = |text: &str| text.parse::<Number>().map(|n| n.to_string()).map_err(|e| e.to_string());
    let refused = |text: &str| Err(format!("`{text}` is not a number"));
    let cases = [
        ("18.0", Ok("18".into())),
        ("018", Ok("18".into())),
        ("-0.0", Ok("0".into())),
        ("－１，０００．５０", Ok("-1000.5".into())),
        (" 7 ", Ok("7".into())),
        ("0.050", Ok("0.05".into())),
        ("2/8", Ok("0.25".into())),
        ("－２／６", Ok("-1/3".into())),
        ("-1/3", Ok("-1/3".into())),
        ("1/0", refused("1/0")),
        ("1/-2", refused("1/-2")),
        ("/2", refused("/2")),
        ("18個", refused("18個")),
        ("1e3", refused("1e3")),
        ("1.2.3", refused("1.2.3")),
        ("--1", refused("--1")),
        ("1.", refused("1.")),
        ("", refused("")),
    ];
    check(canonical, &cases);
    assert_eq!("18.0".parse::<Number>(), "18".parse());
    assert_ne!("0.1".parse::<Number>(), "0.10000000000000001".parse(), "no float is in between");
}

#[test]
fn knows_japanese() {
    let cases = [
        ("35+61=96。答えは96です。", true),
        ("ﾃﾞｽ", true),
        ("データ", true),
        ("重さは5kgです。", true),
        ("Aliceはりんごを買いました。", true),
        ("18", false),
        ("", false),
        ("。、！", false),
        ("The answer is 18.", false),
        ("答案是十八。", false),
        ("東京都", false),
        ("ー", false),
        ("정답은 18입니다.", false),
        ("The name of the boy is たろう.", false),
        ("abはい", false),
        ("aはい", true),
    ];
    check(is_japanese, &cases);
}
