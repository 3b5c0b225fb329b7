//! Tasks and their data.

use super::{Kind, asked, check, stored};
use std::fs;

#[test]
fn tasks() {
    check(&Kind {
        name: "tasks",
        files: &["sums.yaml", "choices.yaml", "report.jsonl", "choices.jsonl"],
        make: asked,
        commands: &[
            &["eval", "ja", "--tasks", "choices.yaml", "--limit", "2", "--no-memory"],
            &["eval", "ja", "--tasks", "sums.yaml", "--limit", "2", "--no-memory"],
        ],
        may_compute: true,
    });
}

/// Other formats of data: tables, compressed files, and the clone of a data set.
#[test]
fn data_sets() {
    check(&Kind {
        name: "data sets",
        files: &[
            "sums.csv",
            "sums.jsonl.gz",
            "sums.jsonl.bz2",
            "sums.jsonl.zst",
            "types.parquet",
            "pages.parquet",
            "gzip.parquet",
            "lz4.parquet",
            "clone/README.md",
            "clone/ja/test.csv",
        ],
        make: |dir| {
            asked(dir);
            dir.write("sums.csv", "q,a\n1+1=,2\n\"1\n+2=\",3\n");
            dir.write("clone/ja/test.csv", "q,a\n1+1=,2\n");
            dir.write(
                "clone/README.md",
                "---\nlicense: mit\nconfigs:\n- config_name: ja\n  data_files:\n  - split: test\n    path: ja/*.csv\n---\n# Sums\n",
            );
            let task = |name: &str, data: &str, [question, answer]: [&str; 2]| {
                let text = format!(
                    "task: {name}\n{data}\ntest_split: test\noutput_type: generate_until\ndoc_to_text: '{{{{{question}}}}}'\n\
                     doc_to_target: '{{{{{answer}}}}}'\nmetric_list: [{{metric: exact_match}}]\ngeneration_kwargs: {{max_gen_toks: 3}}\n"
                );
                dir.write(&format!("{name}.yaml"), text);
            };
            let file = |format: &str, file: &str| {
                format!("dataset_path: {format}\ndataset_kwargs: {{data_files: {{test: {file}}}}}")
            };
            task("csv", &file("csv", "sums.csv"), ["q", "a"]);
            task("clone", "dataset_path: clone\ndataset_name: ja", ["q", "a"]);
            for end in ["gz", "bz2", "zst"] {
                let name = format!("sums.jsonl.{end}");
                fs::copy(stored("packed").join(&name), dir.path(&name)).unwrap();
                task(end, &file("json", &name), ["q", "a"]);
            }
            for kind in ["types", "pages", "gzip", "lz4"] {
                let name = format!("{kind}.parquet");
                fs::copy(stored("parquet").join(&name), dir.path(&name)).unwrap();
                task(kind, &file("parquet", &name), ["question", "i64"]);
            }
            for args in DATA {
                let said = dir.run(args);
                assert_eq!(said.code, Some(0), "{}", said.err);
            }
        },
        commands: DATA,
        may_compute: true,
    });
}

/// Commands that together read every format.
const DATA: &[&[&str]] = &[
    &["eval", "ja", "--tasks", "csv.yaml", "--tasks", "clone.yaml", "--limit", "1", "--no-memory"],
    &["eval", "ja", "--tasks", "gz.yaml", "--tasks", "bz2.yaml", "--tasks", "zst.yaml", "--limit", "1", "--no-memory"],
    &[
        "eval",
        "ja",
        "--tasks",
        "types.yaml",
        "--tasks",
        "pages.yaml",
        "--tasks",
        "gzip.yaml",
        "--tasks",
        "lz4.yaml",
        "--limit",
        "1",
        "--no-memory",
    ],
];
