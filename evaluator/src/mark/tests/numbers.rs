//! Answers in, numbers out, for each extractor.

use serde_json::Value;
use std::fs;

use crate::{
    mark::numbers::{Extractor, NumberRule, Reading},
    shared::shared,
    text::normalize::Number,
};

#[track_caller]
fn check(extractor: Extractor, text: &str, expected: Option<&str>) {
    let value = extractor.read(text).map(|reading| reading.value.map_or(reading.raw, |value| value.to_string()));
    assert_eq!(value.as_deref(), expected, "{} of {text:?}", extractor.name());
}

fn raw(reading: Option<Reading>) -> String {
    reading.map_or("[invalid]".to_owned(), |reading| reading.raw)
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn reads_what_the_published_extractors_read() {
    let path = shared("conformance/evaluator/number_extraction_golden.jsonl");
    let rows: Vec<Value> =
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 27);
    for row in rows {
        let text = row["text"].as_str().unwrap();
        let sakana = Extractor::Sakana.read(text).map(|reading| reading.value.unwrap().to_string());
        let expected = row["sakana"].as_f64().map(|value| value.to_string());
        assert_eq!(sakana, expected, "sakana of {text:?}");
        let stability = Extractor::Stability.read(text).map(|reading| reading.value.unwrap().to_string());
        let expected = row["stability"].as_i64().map(|value| value.to_string());
        assert_eq!(stability, expected, "stability of {text:?}");
        let simple = Extractor::SimpleEvals.read(text).map_or(String::new(), |reading| reading.raw);
        assert_eq!(simple, row["simple_evals_flexeval"], "simple-evals of {text:?}");
        assert_eq!(raw(Extractor::EleutherFlexible.read(text)), row["eleuther_flexible"], "flexible of {text:?}");
        assert_eq!(raw(Extractor::EleutherStrict.read(text)), row["eleuther_native_cot_strict"], "strict of {text:?}");
    }
}

#[test]
fn marks_as_the_published_harnesses_do() {
    // True for each extractor that marks the text as right.
    let right = |text: &str, gold: &str| {
        let gold: Number = gold.parse().unwrap();
        Extractor::ALL.map(|extractor| extractor.is_right(text, &gold))
    };
    // Sakana, Stability, simple-evals, EleutherAI flexible and strict, ours.
    for (text, gold, expected) in [
        ("答えは18です。", "18", [true, true, true, true, true, true]),
        ("答えは1,000です。", "1000", [false, true, true, true, true, true]),
        ("答えは１８です。", "18", [true, false, false, false, false, true]),
        ("答えは१८です", "18", [true, false, false, false, false, false]),
        ("答えは18.00です。", "18", [true, true, true, false, false, true]),
        ("答えは1800です。", "18", [false; 6]),
        ("答えは-5です。", "-5", [false, true, true, true, true, true]),
        ("答えは5です。", "-5", [false, false, false, true, true, false]),
        ("答えは18です。これは7日分です。", "18", [false, false, false, false, true, true]),
        ("答えは0.5です。", "0.5", [true, false, true, true, true, true]),
        ("答えは.5です", "0.5", [true, false, false, false, false, true]),
        ("答えは十八です。", "18", [false, false, false, false, false, true]),
        ("9007199254740993", "9007199254740993", [false, false, true, true, false, true]),
        ("9007199254740992", "9007199254740993", [false; 6]),
    ] {
        assert_eq!(right(text, gold), expected, "of {text:?}");
    }
}

#[test]
fn reads_numbers_as_japanese_writes_them() {
    for (text, value) in [
        // Digits and signs.
        ("18", "18"),
        ("答えは１８個です。", "18"),
        ("答えは１，２３４，５６７円です。", "1234567"),
        ("合計は$1,250.50です。", "1250.5"),
        ("答えは-5です", "-5"),
        ("答えは−5度です", "-5"),
        ("答えはマイナス5です", "-5"),
        ("答えはマイナス五です", "-5"),
        ("答えは-$3です", "-3"),
        ("57-55", "55"),
        ("57個-55個", "55"),
        ("答えは①です。", "1"),
        ("答えは007です", "7"),
        ("GPT-4は18個", "18"),
        ("12345678901234567890123", "12345678901234567890123"),
        // Kanji.
        ("答えは十八です。", "18"),
        ("答えは二千五百円です。", "2500"),
        ("答えは百です", "100"),
        ("答えは千二百三十四万五千六百七十八円", "12345678"),
        ("三億二千万人", "320000000"),
        ("一兆円", "1000000000000"),
        ("二〇二四年", "2024"),
        ("答えは一〇〇個", "100"),
        ("金壱萬弐千参百円", "12300"),
        ("答えは五です", "5"),
        ("答えは三人", "3"),
        ("リンゴは一つ", "1"),
        ("答えは約五個です", "5"),
        ("十分間", "10"),
        ("二十分です", "20"),
        // Both mixed.
        ("答えは1万2千円です。", "12000"),
        ("1万2,500円", "12500"),
        ("１万２千３百", "12300"),
        ("1.5億円", "150000000"),
        ("3千円", "3000"),
        ("3百5十", "350"),
        ("12億3456万7890", "1234567890"),
        // Fractions.
        ("答えは1/2です。", "0.5"),
        ("2/3", "2/3"),
        ("3分の2", "2/3"),
        ("三分の一", "1/3"),
        ("1と4分の3時間", "1.75"),
        ("½", "0.5"),
        ("2½カップ", "2.5"),
        ("\\boxed{\\frac{3}{4}}", "0.75"),
        ("答えは3時間半です", "3.5"),
        ("二年半", "2.5"),
        ("答えは半分です。", "0.5"),
        ("半日", "0.5"),
        ("答えは50%です。", "50"),
        ("50パーセント", "50"),
        ("30分の休み", "30"),
        // Text that looks like a number but is none.
        ("18個で十分です。", "18"),
        ("18個になるのが一般的です。", "18"),
        ("18個が唯一の答え", "18"),
        ("18個と何個か", "18"),
        ("18個の残りは数個", "18"),
        ("18、これが後半です", "18"),
        ("18人が一時帰宅", "18"),
        ("7月半ば", "7"),
        ("2024/5/3", "3"),
    ] {
        check(Extractor::Strict, text, Some(value));
    }
    for text in ["", "分かりません。", "十分です", "一緒に", "統一", "何個ですか", "数百円", "前半", "半額", "一方、"]
    {
        check(Extractor::Strict, text, None);
    }
}

#[test]
fn says_which_rule_found_the_number() {
    for (text, rule, raw) in [
        ("1+1=2 より \\boxed{72} である。以上3点。", NumberRule::Boxed, "72"),
        ("$$\\boxed{1{,}000\\text{円}}$$", NumberRule::Boxed, "1000円"),
        ("3個と4個。\n#### 7\n問題：次は9個", NumberRule::Hashes, "7"),
        ("#### ステップ1: 3+4\n答えは7個です。", NumberRule::AnswerIs, "7個"),
        ("答えは**18個**です。これは7日分です。", NumberRule::AnswerIs, "18個"),
        ("答え：18\n合計3回計算しました。", NumberRule::AnswerIs, "18"),
        ("答えは2日で18個です。", NumberRule::AnswerIs, "18個"),
        ("答えは18個で、3箱分です。", NumberRule::AnswerIs, "18個"),
        ("答えは3×6=18です。", NumberRule::AnswerIs, "18"),
        ("答えは、18ドル（1日2ドルの9日分）です。", NumberRule::AnswerIs, "18ドル"),
        ("答えは分かりません。多分18", NumberRule::LastSentence, "18"),
        ("3個。よって、18個です。確かめは2回です。", NumberRule::Therefore, "18個"),
        ("したがって合計は1万2千円になります。以上、3行。", NumberRule::Therefore, "1万2千円"),
        ("3たす4は7。それで終わり", NumberRule::LastNumber, "7"),
        ("9×7=63。63+27=90", NumberRule::LastSentence, "90"),
        ("値は3.5だ", NumberRule::LastSentence, "3.5"),
    ] {
        let reading = Extractor::Strict.read(text).unwrap();
        assert_eq!((reading.rule, reading.raw.as_str()), (rule, raw), "of {text:?}");
    }
    let json = serde_json::to_string(&Extractor::Strict.read("答えは1/3です").unwrap()).unwrap();
    assert_eq!(json, r#"{"rule":"answer-is","raw":"1/3","value":"1/3"}"#);
}

/// Writes a number in kanji as schools teach it: no 一 before 十, 百 and 千.
fn kanji(n: u64) -> String {
    const DIGITS: [&str; 10] = ["", "一", "二", "三", "四", "五", "六", "七", "八", "九"];
    let mut text = String::new();
    for (myriad, name) in [(1_0000_0000, "億"), (1_0000, "万"), (1, "")] {
        let group = n / myriad % 1_0000;
        for (unit, name) in [(1000, "千"), (100, "百"), (10, "十"), (1, "")] {
            let digit = (group / unit % 10) as usize;
            if digit > 0 {
                text += if digit == 1 && unit > 1 { "" } else { DIGITS[digit] };
                text += name;
            }
        }
        text += if group > 0 { name } else { "" };
    }
    if text.is_empty() { "零".to_owned() } else { text }
}

fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, c) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

fn full_width(text: &str) -> String {
    let wide = |c: char| char::from_u32(u32::from(c) + 0xFEE0).filter(|_| c.is_ascii_graphic()).unwrap_or(c);
    text.chars().map(wide).collect()
}

fn mixed(n: u64) -> String {
    let (oku, man, rest) = (n / 1_0000_0000, n / 1_0000 % 1_0000, n % 1_0000);
    let part = |n: u64, name: &str| if n > 0 { format!("{n}{name}") } else { String::new() };
    let text = format!("{}{}{}", part(oku, "億"), part(man, "万"), part(rest, ""));
    if text.is_empty() { "0".to_owned() } else { text }
}

#[test]
fn reads_back_every_way_a_number_is_written() {
    let styles: [fn(u64) -> String; 6] =
        [|n| n.to_string(), grouped, |n| full_width(&grouped(n)), kanji, mixed, |n| full_width(&mixed(n))];
    let frames = [
        ("", ""),
        ("答えは", "です。"),
        ("答えは", "円です。これは3日分です。"),
        ("答え：", ""),
        ("2個あります。よって、", "個です。"),
        ("3たす4。\n#### ", "\n"),
        ("したがって$\\boxed{", "}$となります。"),
        ("合計は約", "人になりました"),
    ];
    // Every power of ten with its neighbours, and a spread of other numbers.
    let powers = (0..12).flat_map(|power| (0..=2).map(move |by| 10u64.pow(power) + by - 1));
    let others = (1..400u64).map(|i| i * i * i * 7919 % 1_0000_0000_0000);
    for n in powers.chain(others).chain([1_2000, 100_0010, 2_0000_0000]) {
        for style in styles {
            for (before, after) in frames {
                let text = format!("{before}{}{after}", style(n));
                check(Extractor::Strict, &text, Some(&n.to_string()));
            }
        }
    }
}

#[test]
fn never_panics_on_odd_text() {
    let pieces = [
        "\\boxed{",
        "}",
        "####",
        "答えは",
        "1",
        "/",
        "0",
        "分の",
        "万",
        "十",
        "半",
        "½",
        "⅟",
        "-",
        ".",
        ",",
        "\n",
        "ー",
    ];
    for a in pieces {
        for b in pieces {
            for c in pieces {
                for d in ["", "1", "分の", "0"] {
                    for extractor in Extractor::ALL {
                        let _ = extractor.read(&[a, b, c, d].concat());
                    }
                }
            }
        }
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn counts_what_each_extractor_loses_of_mgsm() {
    let path = shared("data/mgsm/mgsm_ja.tsv");
    let text = fs::read_to_string(path).unwrap();
    let golds: Vec<u64> =
        text.lines().map(|line| line.rsplit('\t').next().unwrap().replace(',', "").parse().unwrap()).collect();
    let counts = |write: &dyn Fn(u64) -> String, negative: bool| {
        Extractor::ALL.map(|extractor| {
            let right = |gold: &&u64| {
                let gold_text = format!("{}{gold}", if negative { "-" } else { "" });
                extractor.is_right(&format!("答えは{}です。", write(**gold)), &gold_text.parse().unwrap())
            };
            golds.iter().filter(right).count()
        })
    };
    // The harnesses' own code gave the first four counts; the strict filter reads only its own sentence.
    assert_eq!(counts(&|n| n.to_string(), false), [250, 250, 250, 250, 250, 250]);
    assert_eq!(counts(&grouped, false), [227, 250, 250, 250, 250, 250]);
    assert_eq!(counts(&|n| full_width(&n.to_string()), false), [250, 0, 0, 0, 0, 250]);
    assert_eq!(counts(&|n| format!("{n}.00"), false), [250, 250, 250, 0, 0, 250]);
    assert_eq!(counts(&|n| format!("-{n}"), true), [0, 250, 250, 250, 250, 250]);
    assert_eq!(counts(&kanji, false), [0, 0, 0, 0, 0, 250]);
    let trailing = counts(&|n| format!("{n}です。これは1週間の合計"), false);
    assert!(trailing[..4].iter().all(|right| *right <= 1) && trailing[4..] == [250, 250], "{trailing:?}");
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn reads_the_answers_of_gsm8k() {
    let path = shared("data/gsm8k/test.jsonl");
    let answers: Vec<String> = fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["answer"].as_str().unwrap().to_owned())
        .collect();
    let count = |extractor: Extractor| {
        let right =
            |answer: &&String| extractor.is_right(answer, &answer.rsplit("#### ").next().unwrap().parse().unwrap());
        answers.iter().filter(right).count()
    };
    // Counted with Sakana's own code, which loses the sixteen answers with a comma.
    assert_eq!((count(Extractor::Sakana), count(Extractor::Strict), answers.len()), (1303, 1319, 1319));
}

/// MAWPS-ja has answers that a program printed; those who solve the sum find fractions.
#[test]
fn fractions_answer_golds_that_were_printed_from_floats() {
    let right = |text: &str, gold: &str| Extractor::Strict.is_right(text, &gold.parse().unwrap());
    for (text, gold, expected) in [
        ("2/3です", "0.6666666666666666", true),
        // Cut off after fifteen digits, and rounded up.
        ("答えは3分の2です。", "0.666666666666666", true),
        ("10と3分の1", "10.333333333333334", true),
        ("0.66666666666666667", "0.6666666666666666", true),
        ("0.3", "0.30000000000000004", false),
        ("0.67", "0.6666666666666666", false),
        ("0.666666666666665", "0.666666666666666", false),
        ("3分の2", "0.66666666666666", false),
        // Whole numbers are exact, however long.
        ("1234567890123457", "1234567890123456", false),
    ] {
        assert_eq!(right(text, gold), expected, "{text} for {gold}");
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn fractions_answer_all_of_mawps_that_was_printed_from_floats() {
    let right = |text: &str, gold: &str| Extractor::Strict.is_right(text, &gold.parse().unwrap());
    let path = shared("data/cot_ja/dataset/mawps/test.json");
    let rows: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let golds = rows.iter().map(|row| row["answer"].as_str().unwrap());
    let printed: Vec<&str> = golds.filter(|gold| gold.contains('.') && gold.len() > 15).collect();
    assert_eq!(printed.len(), 21);
    for gold in printed {
        let value: f64 = gold.parse().unwrap();
        let is_whole = |below: &f64| (value * below - (value * below).round()).abs() < 1e-9;
        let below = (2..40).map(f64::from).find(is_whole).unwrap();
        let above = (value * below).round();
        for (off, expected) in [(0.0, true), (1.0, false)] {
            assert_eq!(right(&format!("{}/{below}", above + off), gold), expected, "{gold}");
            assert_eq!(right(&format!("答えは{below}分の{}です。", above + off), gold), expected, "{gold}");
        }
    }
}
