//! The data sets, compared with known facts and with the Hugging Face documents that the harnesses saw.

use super::{read::Read, *};
use crate::shared::shared;
use serde_json::json;
use std::{collections::BTreeMap, fmt::Write as _};

fn shelf() -> Shelf {
    Shelf::at(shared("data"))
}

fn docs(shelf: &Shelf, name: &str, split: &str) -> Vec<Value> {
    shelf.docs(dataset(name).unwrap(), split).unwrap()
}

fn count(docs: &[Value], field: &str) -> BTreeMap<String, usize> {
    docs.iter().fold(BTreeMap::new(), |mut counts, doc| {
        *counts.entry(doc[field].to_string()).or_default() += 1;
        counts
    })
}

#[test]
fn every_data_set_has_a_source_and_every_file_belongs_to_one() {
    let n_rows = include_str!("manifest.tsv").lines().count() - 1;
    assert_eq!(manifest::FILES.len(), n_rows);
    let used: Vec<File> = DATASETS.iter().flat_map(Dataset::files).collect();
    for file in manifest::FILES.iter() {
        assert!(used.iter().any(|known| known.path == file.path), "{}", file.path);
        assert!(file.known.iter().all(|digest| digest.sha256.len() == 64 && digest.bytes > 0), "{}", file.path);
        assert!(file.address.unwrap().url().starts_with("https://"), "{}", file.path);
    }
    for dataset in DATASETS {
        assert!(dataset.files().iter().all(|file| file.path.starts_with(dataset.source().folder)), "{}", dataset.name);
        assert_eq!(dataset.is_user_supplied(), ["jaqket-v2", "xlsum-ja", "marc-ja"].contains(&dataset.name));
    }
    for source in SOURCES {
        assert!(DATASETS.iter().any(|dataset| dataset.source().folder == source.folder), "{}", source.folder);
    }
}

/// Reads a text as a file of a data set, and compares its documents.
#[track_caller]
fn check(form: Read, path: &'static str, text: &str, expected: &Value) {
    let file = File { path, known: Vec::new(), address: None };
    assert_eq!(&json!(form.docs(&file, text.as_bytes()).unwrap()), expected, "{form:?}");
}

/// Made-up files in the forms that authors publish become documents in the form of the hub's data sets.
#[test]
fn files_become_the_documents_of_the_hub() {
    check(Read::Lines, "a.json", "{\"q\": \"問\"}\n\n{\"q\": 2}\n", &json!([{ "q": "問" }, { "q": 2 }]));
    check(Read::Array, "a.json", r#"[{"q": 1}]"#, &json!([{ "q": 1 }]));
    let labels = Read::Labelled(&["entailment", "contradiction", "neutral"]);
    check(labels, "a.json", r#"{"label": "neutral"}"#, &json!([{ "label": 2 }]));
    check(labels, "a.json", r#"{"label": 1}"#, &json!([{ "label": 1 }]));
    let articles = json!({ "data": [{ "title": "湖", "paragraphs": [{ "context": "湖は深い。", "qas": [
        { "id": "q0", "question": "深いのは？", "answers": [{ "text": "湖", "answer_start": 0 }], "is_impossible": false },
    ] }] }] });
    check(
        Read::Squad,
        "a.json",
        &articles.to_string(),
        &json!([{ "id": "q0", "title": "湖", "context": "湖は深い。", "question": "深いのは？",
            "answers": { "text": ["湖"], "answer_start": [0] }, "is_impossible": false }]),
    );
    let problem = |question: &str, number: i64| json!({ "question": question, "answer": null, "answer_number": number, "equation_solution": null });
    check(
        Read::Mgsm,
        "a.tsv",
        "一足す二は？\t3\n千を二つ\t2,000\n",
        &json!([problem("一足す二は？", 3), problem("千を二つ", 2000)]),
    );
    let numbers: Vec<usize> = (1..9).collect();
    let examples: Value = numbers
        .iter()
        .map(|n| (n.to_string(), json!({ "q": format!("問{n}"), "a": format!("答{n}") })))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let solutions: Vec<String> = numbers.iter().map(|n| format!("0+{n}={n}")).collect();
    let tree = json!({ "ja": examples, "number_answers": numbers, "equation_solutions": solutions });
    let worked = |n: &usize| json!({ "question": format!("問{n}"), "answer": format!("答{n}"), "answer_number": n, "equation_solution": format!("0+{n}={n}") });
    check(Read::Exemplars("ja"), "a.json", &tree.to_string(), &numbers.iter().map(worked).collect());
    check(
        Read::Gsm8k,
        "a.jsonl",
        r#"{"question": "q", "answer": "so\n#### 1,234"}"#,
        &json!([{ "question": "q", "answer": "so\n#### 1,234", "answer_number": 1234 }]),
    );
    check(
        Read::Xwinograd,
        "a.tsv",
        "en\tx\n\
         jp\thttp://a\tHe ate.\t彼は食べた。\t[\"彼\",\"は\",\"食べた\",\"。\"]\t[\"彼\",[0,1],[]]\t[[\"犬\",[],[],false],[\"猫\",[],[],true]]\n",
        &json!([{ "sentence": "_は食べた。", "option1": "犬", "option2": "猫", "sentence1": "犬は食べた。",
            "sentence2": "猫は食べた。", "answer": 2, "pronoun": "彼", "source": "http://a", "en": "He ate." }]),
    );
    let rows: Vec<String> = (0..6).map(|n| format!("\"問{n}, 何？\",一,二,三,四,{}", ["A", "D"][n % 2])).collect();
    let rows = rows.join("\n");
    let question = |n: usize| json!({ "subject": "歴史", "question": format!("問{n}, 何？"), "choices": ["一", "二", "三", "四"], "answer": (["A", "D"][n % 2]), "label": 3 * (n % 2) });
    check(Read::Jmmlu { dev: true }, "a/歴史.csv", &rows, &(0..5).map(question).collect());
    check(Read::Jmmlu { dev: false }, "a/歴史.csv", &rows, &json!([question(5)]));
    check(
        Read::Mawps,
        "a.json",
        r#"[{"idx": 7, "question": "問題：1足す1は？\n解答：", "answer": "2"}]"#,
        &json!([{ "idx": 7, "question": "1足す1は？", "answer": "2", "reasoning": null }]),
    );
    check(
        Read::MawpsShots,
        "a.json",
        r#"[{"shot_example": "問題：1足す1は？\n解答：1+1=2。答えは2です。"}]"#,
        &json!([{ "question": "1足す1は？", "answer": "2", "reasoning": "1+1=2。答えは2です。" }]),
    );
    let paragraph = "あ".repeat(999) + "\n";
    check(
        Read::Aozora,
        "a/雨.txt",
        &["雨\n", &paragraph, "終わり\n"].concat(),
        &json!([{ "work": "雨", "title": "雨", "piece": 1, "text": format!("雨\n{paragraph}") },
            { "work": "雨", "title": "雨", "piece": 2, "text": "終わり\n" }]),
    );
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn every_split_has_as_many_documents_as_its_authors_say() {
    let shelf = shelf();
    let mut read = 0;
    for dataset in DATASETS.iter().filter(|dataset| !dataset.is_user_supplied()) {
        for split in dataset.splits.iter().filter(|split| shelf.path(&split.files()[0]).exists()) {
            assert_eq!(shelf.docs(dataset, split.name).unwrap().len(), split.rows, "{} {}", dataset.name, split.name);
            read += 1;
        }
    }
    assert_eq!(read, 23, "all but GSM8K's train split, which is too large for the folder");
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn documents_are_those_of_the_hub() {
    for (name, split, file) in [
        ("jcommonsenseqa", "validation", "jcqa_valid"),
        ("jcommonsenseqa", "train", "jcqa_train"),
        ("jnli", "validation", "jnli_valid"),
        ("jsquad", "validation", "jsquad_valid"),
        ("mgsm-ja", "test", "mgsm_ja_test"),
        ("mgsm-ja", "train", "mgsm_ja_train"),
        ("xwinograd-ja", "test", "xwinograd_ja"),
    ] {
        let (shelf, path) = (shelf(), shared(&format!("conformance/evaluator/lm_eval_local/data/{file}.jsonl")));
        let text = fs::read_to_string(path).unwrap();
        let ours = docs(&shelf, name, split);
        for (theirs, ours) in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).zip(&ours) {
            // The references lack equations.
            for (field, value) in theirs.as_object().unwrap().iter().filter(|(_, value)| !value.is_null()) {
                assert_eq!(&ours[field], value, "{name} {field}");
            }
        }
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn what_is_known_of_the_data_holds() {
    let shelf = shelf();
    let (ja, en) = (docs(&shelf, "mgsm-ja", "test"), docs(&shelf, "mgsm-en", "test"));
    let gsm8k = docs(&shelf, "gsm8k", "test");
    for ((ja, en), gsm8k) in ja.iter().zip(&en).zip(&gsm8k) {
        assert_eq!(ja["answer_number"], gsm8k["answer_number"]);
        assert_eq!(en["answer_number"], gsm8k["answer_number"]);
        assert_eq!(en["question"], gsm8k["question"]);
    }
    let large = ja.iter().filter(|doc| doc["answer_number"].as_i64().unwrap() >= 1000).count();
    assert_eq!(large, 23);
    let golds = docs(&shelf, "jsquad", "validation").iter().fold([0; 4], |mut golds, doc| {
        golds[doc["answers"]["text"].as_array().unwrap().len()] += 1;
        golds
    });
    assert_eq!(golds, [0, 0, 473, 3969]);
    assert_eq!(count(&docs(&shelf, "xwinograd-ja", "test"), "answer"), [("1".into(), 466), ("2".into(), 493)].into());
    for (split, good, bad) in [("train", 5769, 1150), ("validation", 726, 139), ("validation_out_of_domain", 502, 183)]
    {
        let labels = count(&docs(&shelf, "jcola", split), "label");
        assert_eq!(labels, [("1".into(), good), ("0".into(), bad)].into(), "{split}");
    }
    let subjects = count(&[docs(&shelf, "jmmlu", "dev"), docs(&shelf, "jmmlu", "test")].concat(), "subject");
    assert_eq!((subjects.len(), subjects.values().sum::<usize>()), (51, 6797));
    let answers: Vec<String> =
        docs(&shelf, "mawps-ja", "train").iter().map(|doc| doc["answer"].as_str().unwrap().to_owned()).collect();
    assert_eq!(answers[..2], ["126", "0.2"]);
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn pronouns_are_replaced_as_they_were_before() {
    let (shelf, path) = (shelf(), shared("data/xwinograd/derived/xwinograd_ja.jsonl"));
    let text = fs::read_to_string(path).unwrap();
    for (line, ours) in text.lines().zip(docs(&shelf, "xwinograd-ja", "test")) {
        let mut theirs: Value = serde_json::from_str(line).unwrap();
        theirs["answer"] = theirs["answer"].as_str().unwrap().parse::<i64>().unwrap().into();
        assert_eq!(ours, theirs);
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn worked_examples_come_out_of_python() {
    let path = shared("data/mgsm/exemplars.json");
    let json = fs::read(path).unwrap();
    let tree: Value = serde_json::from_slice(&json).unwrap();
    // The original escapes letters outside ASCII, and breaks texts into pieces of a line's length.
    let literal = |text: &str| {
        let escaped: Vec<String> = text.encode_utf16().fold(Vec::new(), |mut pieces: Vec<String>, unit| {
            let ascii = char::from_u32(unit.into()).filter(|letter| (' '..='~').contains(letter) && *letter != '"');
            let letter = ascii.map_or_else(|| format!("\\u{unit:04x}"), String::from);
            match pieces.last_mut() {
                Some(piece) if piece.len() < 60 => piece.push_str(&letter),
                _ => pieces.push(letter),
            }
            pieces
        });
        escaped.iter().map(|piece| format!("\"{piece}\"")).collect::<Vec<_>>().join("\n                 ")
    };
    let mut python = "\"\"\"Prompts.\"\"\"\n# pylint: disable=line-too-long\n".to_owned();
    write!(python, "\nEXEMPLAR_NUMBER_ANSWERS = {}\n", tree["number_answers"]).unwrap();
    write!(python, "\nEXEMPLAR_EQUATION_SOLUTIONS = {}\n", tree["equation_solutions"]).unwrap();
    python += "\nMGSM_EXEMPLARS = {\n    \"de\": {\"1\": {\"q\": ('Fr' \"age\"), \"a\": \"\"}},  # and so on\n";
    for language in ["en", "ja"] {
        writeln!(python, "    \"{language}\": {{").unwrap();
        for (number, example) in tree[language].as_object().unwrap() {
            let [q, a] = ["q", "a"].map(|field| literal(example[field].as_str().unwrap()));
            writeln!(python, "        \"{number}\": {{\n            \"q\": {q},\n            \"a\":\n                {a}\n        }},")
                .unwrap();
        }
        python += "    },\n";
    }
    python += "}\n";
    let made = derive::exemplars(&python).unwrap();
    assert_eq!(made, json);
    let file = manifest::FILES.iter().find(|file| file.path == "mgsm/exemplars.json").unwrap();
    file.check(&made).unwrap();
    for cut in ["", "\nMGSM_EXEMPLARS = {\"ja\": ", "\nMGSM_EXEMPLARS = {\"ja\": \"\\"] {
        assert!(derive::exemplars(cut).is_err(), "{cut}");
    }
}

#[test]
fn markup_of_aozora_bunko_is_taken_away() {
    let rule = "-".repeat(55);
    let text = format!(
        "雨\r\nある人\r\n\r\n{rule}\r\n【テキスト中に現れる記号について】\r\n\r\n《》：ルビ\r\n（例）時雨《しぐれ》\r\n\r\n｜：ルビの付く文字列の始まり\r\n{rule}\r\n\
         \r\n［＃８字下げ］一［＃「一」は中見出し］\r\n\r\n\r\n　ある時雨《しぐれ》の｜降る晩《ふるばん》。\r\n\
         「榲※［＃「木＋孛」、第3水準1-85-67］」\r\n［＃地から１字上げ］（大正八年）\r\n\r\n\r\n\r\n底本：「雨」どこか\r\n　　　1999年\r\n"
    );
    let (bytes, _, lost) = encoding_rs::SHIFT_JIS.encode(&text);
    assert!(!lost);
    assert_eq!(derive::aozora(&bytes), "雨\n\n一\n\n　ある時雨の降る晩。\n「榲※」\n（大正八年）\n");
}

#[test]
fn what_users_bring_is_read_in_the_shapes_it_comes_in() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let shelf = Shelf::at(dir.path());
    write(
        "jaqket_v2/train.jsonl",
        r#"[{"qid": "Q1", "question": "問", "answers": ["答"], "ctxs": [{"id": "1", "title": "題", "text": "文", "has_answer": true}]}]"#,
    );
    let doc = &docs(&shelf, "jaqket-v2", "train")[0];
    assert_eq!(doc["answers"]["text"], json!(["答"]));
    assert_eq!((&doc["ctxs"]["title"][0], &doc["ctxs"]["has_answer"][0]), (&json!("題"), &json!(true)));
    write("jaqket_v2/validation.jsonl", &format!("{doc}\n"));
    assert_eq!(&docs(&shelf, "jaqket-v2", "validation")[0], doc);
    write(
        "marc_ja/train-v1.0.json",
        "{\"sentence\": \"良\", \"label\": \"positive\"}\n{\"sentence\": \"悪\", \"label\": 1}\n",
    );
    assert_eq!(count(&docs(&shelf, "marc-ja", "train"), "label"), [("0".into(), 1), ("1".into(), 1)].into());
    write("marc_ja/valid-v1.0.json", "{\"sentence\": \"良\", \"label\": \"so so\"}");
    let error = shelf.docs(dataset("marc-ja").unwrap(), "validation").unwrap_err().to_string();
    assert!(error.ends_with("the label \"so so\" is not one of positive, negative"), "{error}");
    assert_eq!(shelf.stock(dataset("jaqket-v2").unwrap()), Stock::Whole);
    assert_eq!(shelf.stock(dataset("xlsum-ja").unwrap()), Stock::None);
}

#[test]
fn a_file_that_is_not_there_or_not_the_right_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (shelf, mgsm) = (Shelf::at(dir.path()), dataset("mgsm-ja").unwrap());
    let error = shelf.docs(mgsm, "test").unwrap_err();
    assert!(error.to_string().starts_with("the data set mgsm-ja is not here: there is no "), "{error}");
    assert!(error.advice().unwrap().contains("`evomerge data fetch mgsm-ja`"));
    fs::create_dir(dir.path().join("mgsm")).unwrap();
    fs::write(dir.path().join("mgsm/mgsm_ja.tsv"), "一足す一は？\t2\n").unwrap();
    let error = shelf.docs(mgsm, "test").unwrap_err().to_string();
    for part in ["mgsm/mgsm_ja.tsv", "should be 59a2b50debe77981", "(81043 bytes)", "(21 bytes)"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(shelf.docs(mgsm, "validation").unwrap_err().advice().unwrap().contains("train, test"));
    assert!(dataset("mgms-ja").unwrap_err().advice().unwrap().contains("did you mean `mgsm-ja`?"));
}

#[test]
fn the_environment_says_where_data_is_kept() {
    let shelf = |set: &[(&str, &str)]| {
        let found =
            Shelf::from_env(&|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()));
        found.map(|shelf| shelf.dir().display().to_string())
    };
    let all = [("EVOMERGE_DATA", "/data"), ("XDG_DATA_HOME", "/xdg"), ("HOME", "/home/me")];
    assert_eq!(shelf(&all).unwrap(), "/data");
    assert_eq!(shelf(&all[1..]).unwrap(), "/xdg/evomerge");
    assert_eq!(shelf(&all[2..]).unwrap(), "/home/me/.local/share/evomerge");
    assert!(shelf(&[]).unwrap_err().advice().unwrap().contains("EVOMERGE_DATA"));
}
