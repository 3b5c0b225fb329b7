//! Tables, the form in which the hub stores data sets.

use super::*;

#[test]
fn reads_tables() {
    let dir = dir(&[
        ("t.csv", "q,a,b\n一,1,1.5\n二,,nan\n".as_bytes()),
        ("t.tsv", "q\ta\n一\t1\n".as_bytes()),
        ("twice.csv", b"q,q\n1,2\n"),
    ]);
    let csv = |more: &str, file: &str| {
        format!("dataset_path: csv\ndataset_kwargs: {{data_files: {{test: {file}}}{more}}}\ntest_split: test")
    };
    let found = docs(dir.path(), &csv("", "t.csv")).unwrap();
    assert_eq!(found, [json!({"q": "一", "a": 1, "b": "1.5"}), json!({"q": "二", "a": null, "b": "nan"})]);
    check(dir.path(), &csv(", sep: \"\\t\"", "t.tsv"), &["一"]);
    let once = "give each column a name of its own";
    refuses(dir.path(), &csv("", "twice.csv"), "twice.csv: two columns are called `q`", once);
    refuses(
        dir.path(),
        &csv(", columns: [q]", "t.csv"),
        "t.yaml:3:54: dataset_kwargs: `columns` is for `dataset_path:` `parquet`",
        "remove one of the two",
    );
}

#[test]
fn reads_every_type_of_column_as_datasets_does() {
    let expected: Vec<Value> = serde_json::from_slice(&fixture("types.json")).unwrap();
    let read = |name: &str, more: &str| {
        let (dir, data) = parquet(name, more, |_| ());
        docs(dir.path(), &data).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    assert_eq!(read("types.parquet", ""), expected);
    let only = |names: &[&str]| -> Vec<Value> {
        let of = |doc: &Value| names.iter().map(|name| ((*name).to_owned(), doc[name].clone())).collect::<Map<_, _>>();
        expected.iter().map(|doc| of(doc).into()).collect()
    };
    for name in ["none", "gzip", "lz4", "pages"] {
        assert_eq!(read(&format!("{name}.parquet"), ""), only(&["question", "i64", "choices"]), "{name}");
    }
    let some = read("types.parquet", ", columns: [answers, question]");
    assert_eq!(some, only(&["answers", "question"]));
}

#[test]
fn refuses_columns_and_files_that_it_cannot_read() {
    let check = |name: &str, more: &str, change: &dyn Fn(&mut Vec<u8>), error: &str, hint: &str| {
        let (dir, data) = parquet(name, more, change);
        refuses(dir.path(), &data, error, hint);
    };
    let same = |_: &mut Vec<u8>| ();
    let columns = "name the columns that are asked, as in `dataset_kwargs: {columns: [question, answer]}`";
    for (column, what) in [
        ("day", "dates or times"),
        ("time", "dates or times"),
        ("nanos", "dates or times"),
        ("clock", "dates or times"),
        ("image", "bytes"),
        ("price", "decimal numbers"),
        ("map", "a map"),
    ] {
        let error = format!("t.parquet: the column `{column}` holds {what}, which cannot be read as JSON");
        check("other.parquet", &format!(", columns: [question, {column}]"), &same, &error, columns);
    }
    check(
        "other.parquet",
        ", columns: [question, nan]",
        &same,
        "t.parquet: row 1: column `nan`: NaN cannot be written in JSON",
        "save it with nulls instead",
    );
    check(
        "none.parquet",
        ", columns: [questoin]",
        &same,
        "t.parquet: there is no column `questoin`",
        "did you mean `question`? it has: `question`, `i64`, `choices`",
    );
    let again = "save it again with `compression=\"snappy\"`, which is the default of pandas and pyarrow";
    for (name, how) in [("zstd", "ZSTD"), ("brotli", "BROTLI")] {
        let error = format!("t.parquet: it is compressed by {how}, which is not read here");
        check(&format!("{name}.parquet"), "", &same, &error, again);
    }
}

/// A Parquet file with a number inside this many nested groups.
fn nested(groups: usize) -> Vec<u8> {
    let number = |mut n: usize| {
        let mut bytes = Vec::new();
        while n > 0x7f {
            bytes.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        bytes
    };
    let (root, leaf) = (b"\x48\x06schema\x15\x02\x00", b"\x15\x02\x25\x02\x18\x01y\x00");
    let group = b"\x35\x02\x18\x01x\x15\x02\x00".repeat(groups);
    let head = [&b"\x15\x04\x19\xfc"[..], &number(groups + 2)].concat();
    let footer = [&head[..], root, &group, leaf, b"\x16\x00\x19\x0c\x00"].concat();
    [b"PAR1", &footer[..], &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

#[test]
fn columns_that_nest_without_end_are_refused() {
    let read = |groups| {
        let (dir, data) = parquet("none.parquet", "", |bytes| *bytes = nested(groups));
        docs(dir.path(), &data).unwrap_err().to_string().rsplit("t.parquet: ").next().unwrap().to_owned()
    };
    assert_eq!(read(98), "no item in it");
    for groups in [100, 100_000, 500_000] {
        assert_eq!(read(groups), "its columns nest more than 100 levels deep");
    }
}

#[test]
fn a_damaged_table_is_an_error_wherever_the_damage_is() {
    for name in ["none.parquet", "types.parquet"] {
        let whole = fixture(name);
        for at in (0..whole.len()).step_by(whole.len() / 150) {
            for value in [0x00, 0x7f, 0xff, whole[at] ^ 1] {
                let (dir, data) = parquet(name, "", |bytes| bytes[at] = value);
                // Many changes give other documents; none may end the program.
                let _ = docs(dir.path(), &data);
            }
            let (dir, data) = parquet(name, "", |bytes| bytes.truncate(at));
            assert!(docs(dir.path(), &data).is_err(), "{name} cut at {at}");
        }
    }
}
