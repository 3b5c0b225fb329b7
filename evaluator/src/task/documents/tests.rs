//! Documents from every kind of file, compared with those that `datasets` reads, and refusals of other files.

use crate::task::{Fractions, Split, Task as _, read};
use encoding_rs::{EUC_JP, SHIFT_JIS};
use flate2::{Compression, write::GzEncoder};
use merge_core::error::Result;
use serde_json::{Map, Value, json};
use std::{fs, io::Write as _, path::Path};
use tempfile::TempDir;

mod tables;

/// Three documents.
const LINES: &str = "{\"q\": \"一\", \"a\": 1}\n{\"q\": \"二\", \"a\": 2}\n\n{\"q\": \"三\", \"a\": 3}\n";

fn dir(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// The documents of a task that has these lines about its data.
fn docs(dir: &Path, data: &str) -> Result<Vec<Value>> {
    let file = dir.join("t.yaml");
    let text = format!(
        "task: t\n{data}\noutput_type: loglikelihood\ndoc_to_text: '{{{{q|default(question)}}}}'\ndoc_to_target: x\n"
    );
    fs::write(&file, text).unwrap();
    let task = read(&file, Fractions::default())?;
    Ok(task.split(Split::Report).iter().map(|id| Value::from(task.doc(*id).clone())).collect())
}

/// Checks the questions of the documents.
fn check(dir: &Path, data: &str, questions: &[&str]) {
    let docs = docs(dir, data).unwrap_or_else(|e| panic!("{data}: {e}"));
    let found: Vec<&str> = docs.iter().map(|doc| doc["q"].as_str().unwrap()).collect();
    assert_eq!(found, questions, "{data}");
}

/// Checks the error and its hint, without the directory.
fn refuses(dir: &Path, data: &str, error: &str, hint: &str) {
    let found = docs(dir, data).map(|docs| json!(docs)).expect_err(data);
    let place = format!("{}/", dir.display());
    let advice = found.advice().unwrap_or_default().replace(&place, "");
    assert_eq!((found.to_string().replace(&place, "").as_str(), advice.as_str()), (error, hint), "{data}");
}

fn json_of(file: &str) -> String {
    format!("dataset_path: json\ndataset_kwargs: {{data_files: {{test: '{file}'}}}}\ntest_split: test")
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// `LINES` as `zstd --check` packs them; the last four bytes are the checksum.
const CHECKED: [u8; 56] = [
    0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x5d, 0x01, 0x00, 0xf8, 0x7b, 0x22, 0x71, 0x22, 0x3a, 0x20, 0x22, 0xe4, 0xb8,
    0x80, 0x22, 0x2c, 0x20, 0x22, 0x61, 0x22, 0x3a, 0x20, 0x31, 0x7d, 0x0a, 0xba, 0x8c, 0x32, 0x7d, 0x0a, 0xb8, 0x89,
    0x33, 0x7d, 0x0a, 0x04, 0x00, 0x80, 0xe0, 0x9c, 0x65, 0x00, 0x82, 0x23, 0x31, 0x99, 0x78, 0x62, 0xaf, 0xcb,
];

/// A skippable frame of Zstandard.
const SKIPPED: &[u8] = b"\x5e\x2a\x4d\x18\x03\0\0\0any";

/// A file that `benches/peers/parquet_refs.py` wrote.
fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/parquet").join(name)).unwrap()
}

fn parquet(name: &str, more: &str, change: impl FnOnce(&mut Vec<u8>)) -> (TempDir, String) {
    let mut bytes = fixture(name);
    change(&mut bytes);
    let data =
        format!("dataset_path: parquet\ndataset_kwargs: {{data_files: {{test: t.parquet}}{more}}}\ntest_split: test");
    (dir(&[("t.parquet", &bytes)]), data)
}

#[test]
fn reads_json_packed_or_not() {
    let bzip2 = {
        let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        packed.write_all(LINES.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let packed =
        |text: &str| ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    let zstd = packed(LINES);
    let halves = LINES.split_at(LINES.find("{\"q\": \"二").unwrap());
    let dir = dir(&[
        ("plain.jsonl", LINES.as_bytes()),
        ("bom.jsonl", format!("\u{feff}{}", LINES.replace('\n', "\r\n")).as_bytes()),
        ("list.json", b" [{\"q\": \"\xe4\xb8\x80\"}, {\"q\": \"\xe4\xba\x8c\"}]"),
        ("key.json", b"{\"data\": [{\"q\": \"x\"}]}"),
        ("t.jsonl.gz", &gzip(LINES)),
        ("two.jsonl.gz", &[gzip(halves.0), gzip(halves.1)].concat()),
        ("t.jsonl.bz2", &bzip2),
        ("t.jsonl.zst", &zstd),
        ("seekable.zst", &[&CHECKED, SKIPPED].concat()),
        ("pzstd.zst", &[b"\x50\x2a\x4d\x18\x04\0\0\0size", &CHECKED[..]].concat()),
        ("frames.zst", &[&CHECKED, SKIPPED, &packed("{\"q\": \"四\"}\n")].concat()),
    ]);
    for file in [
        "plain.jsonl",
        "bom.jsonl",
        "t.jsonl.gz",
        "two.jsonl.gz",
        "t.jsonl.bz2",
        "t.jsonl.zst",
        "seekable.zst",
        "pzstd.zst",
    ] {
        check(dir.path(), &json_of(file), &["一", "二", "三"]);
    }
    check(dir.path(), &json_of("frames.zst"), &["一", "二", "三", "四"]);
    check(dir.path(), &json_of("list.json"), &["一", "二"]);
    let key = "dataset_path: json\ndataset_kwargs: {data_files: {test: key.json}, field: data}\ntest_split: test";
    check(dir.path(), key, &["x"]);
}

#[test]
fn says_what_a_file_is_instead() {
    let (sjis, _, _) = SHIFT_JIS.encode("{\"q\": \"文章題\"}\n");
    let (euc, _, _) = EUC_JP.encode("{\"q\": \"文章題\"}\n");
    let deep = format!("{{\"q\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    // Another character, which only the checksum reveals.
    let mut flipped = CHECKED;
    flipped[18] ^= 1;
    let dir = dir(&[
        ("sjis.jsonl", &sjis),
        ("euc.jsonl", &euc),
        ("latin.jsonl", b"{\"q\": 1}\n{\"q\": \"\xe9\"}"),
        ("utf16.jsonl", b"\xff\xfe{\0"),
        ("t.parquet", b"PAR1PAR1"),
        ("t.xz", b"\xfd7zXZ\0\0"),
        ("t.gz", &gzip(LINES)[..30]),
        ("flipped.zst", &flipped),
        ("cut.zst", &[&CHECKED, &SKIPPED[..9]].concat()),
        ("deep.jsonl", deep.as_bytes()),
        ("nan.jsonl", b"{\"q\": NaN}"),
        ("half.jsonl", b"{\"q\": \"\\ud83d\"}"),
        ("empty.jsonl", b"\n \n"),
        ("number.jsonl", b"1"),
        ("folder/x.jsonl", LINES.as_bytes()),
    ]);
    let utf8 = "save the file as UTF-8";
    let one = "an item is one JSON object on one line";
    for (file, error, hint) in [
        ("sjis.jsonl", "sjis.jsonl:1:8: this is not UTF-8 text, but looks like Shift_JIS", utf8),
        ("euc.jsonl", "euc.jsonl:1:9: this is not UTF-8 text, but looks like EUC-JP", utf8),
        ("latin.jsonl", "latin.jsonl:2:8: this is not UTF-8 text", utf8),
        ("utf16.jsonl", "utf16.jsonl: this is UTF-16, not text", utf8),
        ("t.parquet", "t.parquet: this is Parquet, not text", "say `dataset_path: parquet`"),
        ("t.xz", "t.xz: this is xz, not text", "unpack it, or compress it with gzip"),
        ("t.gz", "t.gz: cannot be unpacked as gzip", "download it again"),
        ("flipped.zst", "flipped.zst: cannot be unpacked as Zstandard", "download it again"),
        ("cut.zst", "cut.zst: cannot be unpacked as Zstandard", "download it again"),
        ("deep.jsonl", "deep.jsonl:1:133: not JSON: recursion limit exceeded", one),
        ("nan.jsonl", "nan.jsonl:1:7: not JSON: expected value", one),
        ("half.jsonl", "half.jsonl:1:14: not JSON: unexpected end of hex escape", one),
        ("empty.jsonl", "empty.jsonl: no item in it", "put one JSON object on each line"),
        (
            "number.jsonl",
            "number.jsonl:1: not a JSON object",
            "an item is one line such as {\"question\": \"…\", \"answer_number\": 18}",
        ),
        (
            "nowhere.jsonl",
            "t.yaml:3:30: there is no item file nowhere.jsonl",
            "item files are looked for beside the task file, then in the current directory",
        ),
        (
            "no*.jsonl.gz",
            "t.yaml:3:30: no file matches `no*.jsonl.gz`",
            "`*` stands for a part of a name, and `**` for any folders; hidden files are left out",
        ),
        ("folder", "t.yaml:3:30: folder is a directory", "`data_dir` names a directory, `data_files` files"),
        (
            "https://example.org/x.jsonl",
            "t.yaml:3:30: `https://example.org/x.jsonl` is an address, and only files of this machine are read",
            "download it, and name the file",
        ),
    ] {
        refuses(dir.path(), &json_of(file), error, hint);
    }
}

#[test]
fn a_small_file_does_not_stand_for_a_huge_one() {
    let zeros = format!("{{\"q\": \"x\", \"z\": [{}0]}}\n", "0,".repeat(8 << 20));
    let dir = dir(&[
        ("bomb.gz", &gzip(&" ".repeat(1 << 20).repeat(1100))),
        ("values.gz", &gzip(&zeros)),
        ("rows.gz", &gzip(&"{}\n".repeat(4 << 20))),
    ]);
    let hint = "divide it, or take a part of it";
    refuses(dir.path(), &json_of("bomb.gz"), "bomb.gz: its documents have more than 1 GB", hint);
    for file in ["values.gz", "rows.gz"] {
        let error = format!("{file}: its documents would take more than 1 GB of memory");
        refuses(dir.path(), &json_of(file), &error, hint);
    }
}

/// The pointer that replaces a file in a clone without the large files.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

#[test]
fn finds_the_files_of_a_data_set() {
    let part = |q: &str| format!("{{\"q\": \"{q}\"}}\n").into_bytes();
    let card = "---\nlicense: mit\nconfigs:\n- config_name: ja\n  data_files:\n  - split: test\n    path: ja/*.jsonl\n  - split: train\n    path: [ja-train/a.jsonl, ja-train/b.jsonl]\n- config_name: en\n  default: true\n  data_dir: en\n---\n# Set\n";
    let parquet = fixture("none.parquet");
    let dir = dir(&[
        ("shards/data/test-00001-of-00002.jsonl", &part("2")),
        ("shards/data/test-00000-of-00002.jsonl", &part("1")),
        ("shards/data/train-00000-of-00001.jsonl", &part("3")),
        ("shards/README.md", b"# no card"),
        ("names/my_test.jsonl", &part("4")),
        ("names/train.jsonl.gz", &gzip("{\"q\": \"5\"}")),
        ("names/.hidden/test.jsonl", &part("no")),
        ("folders/validation/a.csv", b"q\nsix\n"),
        ("folders/train/test.csv", b"q\nseven\n"),
        ("whole/all.jsonl", &part("8")),
        ("whole/config.json", b"{}"),
        ("card/README.md", card.as_bytes()),
        ("card/ja/1.jsonl", &part("9")),
        ("card/ja-train/a.jsonl", &part("10")),
        ("card/ja-train/b.jsonl", &part("11")),
        ("card/en/test.jsonl", &part("12")),
        ("table/data/test-00000-of-00001.parquet", &parquet),
        ("nothing/readme.txt", b""),
        ("twice/test.csv", b"q\n14\n"),
        ("twice/test.jsonl", &part("15")),
        ("packed/a.jsonl", &part("16")),
        ("packed/a.jsonl.gz", &gzip("{\"q\": \"17\"}")),
        ("separated/a.csv", b"q\n18\n"),
        ("separated/b.tsv", b"q\n19\n"),
        (
            "listed/README.md",
            b"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: x/*\n---\n",
        ),
        ("listed/x/a.csv", b"q\n20\n"),
        ("listed/x/b.jsonl", &part("21")),
        ("pointers/parquet/test.parquet", POINTER),
        ("pointers/jsonl/test.jsonl", POINTER),
    ]);
    let of = |path: &str, split: &str| format!("dataset_path: {path}\ntest_split: {split}");
    check(dir.path(), &of("./shards", "test"), &["1", "2"]);
    check(dir.path(), &of("shards", "train"), &["3"]);
    check(dir.path(), &of("names", "test"), &["4"]);
    check(dir.path(), &of("names", "train"), &["5"]);
    check(dir.path(), &of("folders", "validation"), &["six"]);
    check(dir.path(), &of("folders", "train"), &["seven"]);
    check(dir.path(), &of("whole", "train"), &["8"]);
    check(dir.path(), &of("card\ndataset_name: ja", "test"), &["9"]);
    check(dir.path(), &of("card\ndataset_name: ja", "train"), &["10", "11"]);
    check(dir.path(), &of("card", "test"), &["12"]);
    check(dir.path(), &of("json\ndataset_kwargs: {data_dir: shards}", "test"), &["1", "2"]);
    check(
        dir.path(),
        &of("json\ndataset_kwargs: {data_dir: card, data_files: {x: ja*/*.jsonl}}", "x"),
        &["10", "11", "9"],
    );
    check(dir.path(), &of("json\ndataset_kwargs: {data_files: {test: 'n*/*test*'}}", "test"), &["4"]);
    assert_eq!(docs(dir.path(), &of("table", "test")).unwrap().len(), 3);
    assert_eq!(docs(dir.path(), &of("parquet\ndataset_kwargs: {data_dir: table/data}", "test")).unwrap().len(), 3);
    let columns =
        |path: &str| format!("dataset_path: {path}\ndataset_kwargs: {{columns: [question]}}\ntest_split: test");
    let question = serde_json::from_slice::<Vec<Value>>(&fixture("types.json")).unwrap()[0]["question"].clone();
    assert_eq!(docs(dir.path(), &columns("table")).unwrap()[0], json!({ "question": question }));
    refuses(
        dir.path(),
        &columns("names"),
        "t.yaml:3:27: dataset_kwargs: `columns` is for Parquet files, and these documents are in others",
        "remove it",
    );
    for (path, split, one, other) in [
        ("twice", "test", ".csv", ".jsonl"),
        ("packed", "train", ".jsonl", ".jsonl.gz"),
        ("separated", "train", ".csv", ".tsv"),
        ("listed", "test", ".csv", ".jsonl"),
    ] {
        refuses(
            dir.path(),
            &of(path, split),
            &format!("t.yaml:2:15: {path}: split `{split}` exists both as {one} and as {other}"),
            "`dataset_path: json`, `csv` or `parquet` with `data_files` reads those that are named",
        );
    }
    check(dir.path(), &of("json\ndataset_kwargs: {data_dir: twice}", "test"), &["15"]);
    let lfs = "`git lfs pull` in that directory downloads the file itself (run `git lfs install` first if Git LFS is not set up)";
    for file in ["test.parquet", "test.jsonl"] {
        let path = format!("pointers/{}", file.rsplit('.').next().unwrap());
        let does = if file.ends_with("jsonl") { "read" } else { "open" };
        let error = format!("cannot {does} {path}/{file}: it is a pointer of Git LFS, not the file itself");
        refuses(dir.path(), &of(&path, "test"), &error, lfs);
    }
    refuses(
        dir.path(),
        &of("card\ndataset_name: jp", "test"),
        "t.yaml:2:15: card: the data set has no part `jp`",
        "did you mean `ja`? it has: `ja`, `en`",
    );
    refuses(
        dir.path(),
        &of("shards", "tset"),
        "t.yaml:3:13: test_split: there is no split `tset`",
        "did you mean `test`? the data has: `test`, `train`",
    );
    refuses(
        dir.path(),
        &of("nothing", "test"),
        "t.yaml:2:15: nothing: there is no file of documents in it",
        "documents are in .json, .jsonl, .csv, .tsv or .parquet files",
    );
    refuses(
        dir.path(),
        &of("whole/all.jsonl", "train"),
        "t.yaml:2:15: `whole/all.jsonl` is a file, and a directory is expected here",
        "files are named by `data_files`, with `dataset_path: json`, `csv` or `parquet`",
    );
}
