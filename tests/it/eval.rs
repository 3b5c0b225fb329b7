//! `evomerge eval`: scores with intervals, comparisons of models, remembered answers, files for
//! other tools.

use crate::kit::{Dir, family};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    thread,
};

/// Runs `evomerge eval` on the first 24 items, with its cache in the test's directory.
fn eval(dir: &Dir, models: &[&str], more: &[&str]) -> crate::kit::Said {
    let models: Vec<String> = models.iter().map(|model| family().join(model).display().to_string()).collect();
    let tasks = ["mgsm-ja-mini.yaml", "ja-solution-mini.yaml"].map(|task| family().join("tasks").join(task));
    let tasks: Vec<String> = tasks.iter().map(|task| task.display().to_string()).collect();
    let mut args = vec!["eval"];
    args.extend(models.iter().map(String::as_str));
    args.push("--tasks");
    args.extend(tasks.iter().map(String::as_str));
    args.extend(["--limit", "24", "--memory", "memory"]);
    args.extend(more);
    dir.run(&args)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_was_answered_is_remembered_and_no_other_model_is_given_it() {
    let dir = Dir::new();
    let first = eval(&dir, &["ja"], &["--json"]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(first.err.contains(": 48 answers, 0 of them remembered"), "{}", first.err);
    let again = eval(&dir, &["ja"], &["--json", "--threads", "1", "--batch", "3"]);
    assert!(again.err.contains(": 48 answers, 48 of them remembered; 0 tokens computed"), "{}", again.err);
    assert_eq!(again.out, first.out);
    let other = eval(&dir, &["base"], &["--json"]);
    assert!(other.err.contains(": 48 answers, 0 of them remembered"), "{}", other.err);
    assert_ne!(json(&other.out)["scores"], json(&first.out)["scores"]);
}

#[test]
fn bf16_dot_products_are_used_where_they_are_and_remembered_apart() {
    let dir = Dir::new();
    let exact = eval(&dir, &["ja"], &["--json"]);
    let dot = eval(&dir, &["ja"], &["--json", "--bf16-dot"]);
    if dot.err.contains("this processor has no bf16 dot products") {
        assert_eq!(dot.code, Some(1), "{}", dot.err);
        return;
    }
    assert!(dot.err.contains(": 48 answers, 0 of them remembered"), "{}", dot.err);
    assert_ne!(json(&dot.out)["measures"], json(&exact.out)["measures"], "margins are rounded");
    let anew = eval(&Dir::new(), &["ja"], &["--json", "--bf16-dot", "--threads", "1", "--batch", "3"]);
    assert_eq!(anew.out, dot.out);
    let elsewhere = eval(&dir, &["ja"], &["--bf16-dot", "--device", "cuda:0"]);
    assert!(elsewhere.err.contains("--bf16-dot is for processors, not for cuda:0"), "{}", elsewhere.err);
}

#[test]
fn models_are_held_against_the_first_item_by_item() {
    let dir = Dir::new();
    let said = eval(&dir, &["ja", "base"], &["--json"]);
    let all = json(&said.out);
    let of = |model: usize| {
        let score = &all["models"][model]["scores"]["ja-solution-mini"];
        assert_eq!(score["n"], 24);
        score["value"].as_f64().unwrap()
    };
    let comparison = &all["comparisons"][0];
    let (task, other) = (&comparison["differences"]["ja-solution-mini"], &comparison["differences"]["mgsm-ja-mini"]);
    assert!((task["value"].as_f64().unwrap() - (of(1) - of(0))).abs() < 1e-12);
    assert_eq!((&task["test"], &other["test"]), (&"mcnemar".into(), &"mcnemar".into()));
    // Holm's adjustment of two p-values: the smaller is doubled, the larger is at least as large.
    let p = |difference: &Value, key: &str| difference[key].as_f64().unwrap();
    let (small, large) = if p(task, "p") <= p(other, "p") { (task, other) } else { (other, task) };
    assert!((p(small, "p_holm") - (2.0 * p(small, "p")).min(1.0)).abs() < 1e-12);
    assert!((p(large, "p_holm") - p(large, "p").max(p(small, "p_holm"))).abs() < 1e-12);
    let table = eval(&dir, &["ja", "base"], &[]);
    assert!(table.out.contains("minus") && table.out.contains("p (Holm)"), "{}", table.out);
}

#[test]
fn results_and_samples_are_files_of_lm_evaluation_harness() {
    let dir = Dir::new();
    let said = eval(&dir, &["ja"], &["--json", "out"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let files: Vec<String> =
        dir.tree().into_iter().filter(|path| path.starts_with("out/") && path.contains(".json")).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    let results = files.iter().find(|file| file.contains("/results_")).unwrap();
    let results = json(&fs::read_to_string(dir.path(results)).unwrap());
    let task = &results["results"]["ja-solution-mini"];
    assert!(task["acc,none"].is_f64() && task["acc_stderr,none"].is_f64(), "{task}");
    assert_eq!(results["n-samples"]["ja-solution-mini"], serde_json::json!({ "original": 300, "effective": 24 }));
    let samples = files.iter().find(|file| file.contains("/samples_mgsm-ja-mini_")).unwrap();
    let samples = fs::read_to_string(dir.path(samples)).unwrap();
    let rows: Vec<Value> = samples.lines().map(json).collect();
    assert_eq!(rows.len(), 24);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["doc_id"], i);
        assert!(row["arguments"]["gen_args_0"]["arg_0"].as_str().unwrap().ends_with("答え："), "{row}");
        assert!(row["exact_match"].is_number() && row["evomerge"]["item"].is_string(), "{row}");
        assert_eq!(row["evomerge"]["answers"][0]["broken"], false, "{row}");
    }
}

/// The model `ja` with a chat template, and a task of three items with one example before each.
fn conversation(dir: &Dir) {
    for file in fs::read_dir(family().join("ja")).unwrap() {
        let file = file.unwrap();
        dir.write(&format!("m/{}", file.file_name().to_str().unwrap()), fs::read(file.path()).unwrap());
    }
    let mut config = json(&fs::read_to_string(dir.path("m/tokenizer_config.json")).unwrap());
    config["chat_template"] = TEMPLATE.into();
    dir.write("m/tokenizer_config.json", config.to_string());
    let lines: Vec<String> = (1..4).map(|i| format!("{{\"q\": \"{i}+1=\", \"a\": \"{}\"}}\n", i + 1)).collect();
    dir.write("items.jsonl", lines.concat());
    dir.write("shots.jsonl", "{\"q\": \"2+2=\", \"a\": \"4\"}\n");
    let task = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: items.jsonl, train: shots.jsonl}}\n\
        test_split: test\nfewshot_split: train\nnum_fewshot: 1\noutput_type: generate_until\ndescription: '計算。'\n\
        doc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\ngeneration_kwargs: {until: [\"\\n\"], max_gen_toks: 4}\n";
    dir.write("t.yaml", task);
}

const TEMPLATE: &str =
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[assistant] ";

/// The written results and the first sample.
fn written(dir: &Dir) -> (Value, Value) {
    let files = dir.tree();
    let of = |name: &str| {
        let file = files.iter().find(|file| file.starts_with("out/") && file.contains(name)).unwrap();
        fs::read_to_string(dir.path(file)).unwrap()
    };
    (json(&of("/results_")), json(of("/samples_").lines().next().unwrap()))
}

#[test]
fn results_say_how_a_conversation_was_asked() {
    let dir = Dir::new();
    conversation(&dir);
    let ask = ["eval", "m", "--tasks", "t.yaml", "--no-memory", "--json", "out", "--batch", "2"];
    let said = dir.run(&[&ask[..], &["--chat", "--system", "あなたは先生です。"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let (results, sample) = written(&dir);
    assert_eq!(results["chat_template"], TEMPLATE);
    // Made with: printf '%s' TEXT | sha256sum
    let shas = [
        ("chat_template_sha", "859906fa4a8a8a8c04be23bdd55bcc180661a789feeb44565cf3bdc6e6f84b4f"),
        ("system_instruction_sha", "e6d67885932635c55a9166536c70f9de7479ef070337824be9951d6606016a4a"),
    ];
    for (key, sha) in shas {
        assert_eq!(results[key], sha, "{key}");
    }
    assert_eq!(results["system_instruction"], "あなたは先生です。");
    assert_eq!(results["fewshot_as_multiturn"], true);
    assert_eq!(results["config"]["batch_size"], 2);
    assert_eq!(results["config"]["model_args"], serde_json::json!({ "pretrained": "m" }));
    let asked = "<s>[system] あなたは先生です。\n\n計算。\n[user] 2+2=\n[assistant] 4\n[user] 1+1=\n[assistant] ";
    assert_eq!(sample["arguments"]["gen_args_0"]["arg_0"], asked);
    assert_eq!(sample["prompt_hash"], "76103522251e4e148b8ac6232ecc3155c1a872a84ff4a061b7d5d7770d985dd4");
    // Without the chat options, these keys are absent.
    let dir = Dir::new();
    conversation(&dir);
    assert_eq!(dir.run(&ask).code, Some(0));
    let (results, sample) = written(&dir);
    for key in ["chat_template", "chat_template_sha", "system_instruction", "system_instruction_sha"] {
        assert_eq!(results[key], Value::Null, "{key}");
    }
    assert_eq!(sample["arguments"]["gen_args_0"]["arg_0"], "計算。2+2= 4\n\n1+1=");
}

#[test]
fn results_say_what_a_server_was_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
            while stream.read_line(&mut line).unwrap() > 2 {
                if let Some((_, value)) =
                    line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case("content-length"))
                {
                    length = value.trim().parse().unwrap();
                }
                head += &std::mem::take(&mut line);
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            let answer = if head.contains("/v1/models") {
                r#"{"data": [{"id": "served"}]}"#
            } else {
                r#"{"choices": [{"message": {"content": "2"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}"#
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            stream.get_mut().write_all(&[head.as_bytes(), answer.as_bytes()].concat()).unwrap();
        }
    });
    let dir = Dir::new();
    conversation(&dir);
    let said = dir.run(&["eval", "--server", &address, "--tasks", "t.yaml", "--chat", "--json", "out"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let (results, sample) = written(&dir);
    assert_eq!((&results["chat_template"], &results["chat_template_sha"]), (&"".into(), &Value::Null));
    assert_eq!(results["config"]["model_args"], serde_json::json!({ "model": "served", "base_url": address }));
    assert_eq!(results["config"]["device"], Value::Null);
    let messages = r#"[{"role": "system", "content": "計算。"}, {"role": "user", "content": "2+2="}, {"role": "assistant", "content": "4"}, {"role": "user", "content": "1+1="}]"#;
    assert_eq!(sample["arguments"]["gen_args_0"]["arg_0"], serde_json::json!([messages]));
}

#[test]
fn one_item_has_a_score() {
    let dir = Dir::new();
    conversation(&dir);
    let models = ["eval", "m", "m", "--tasks", "t.yaml", "--limit", "1", "--no-memory"];
    let said = dir.run(&models);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("exact_match"), "{}", said.out);
    let all = json(&dir.run(&[&models[..], &["--json"]].concat()).out);
    let score = &all["models"][0]["scores"]["t"];
    assert!(score["value"].is_number() && score["n"] == 1, "{score}");
    let none = dir.run(&["eval", "m", "--tasks", "t.yaml", "--limit", "0"]);
    assert_eq!(none.code, Some(2));
    assert!(none.err.contains("invalid value '0' for '--limit <N>': write a whole number, 1 or more"), "{}", none.err);
}

#[test]
fn a_chat_template_without_end_is_an_error() {
    let dir = Dir::new();
    conversation(&dir);
    let mut config = json(&fs::read_to_string(dir.path("m/tokenizer_config.json")).unwrap());
    config["chat_template"] = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x".into();
    dir.write("m/tokenizer_config.json", config.to_string());
    let said = dir.run(&["eval", "m", "--tasks", "t.yaml", "--no-memory", "--chat"]);
    let steps = "rendering takes more than 2000000 steps (64 bytes of text count as one step)";
    assert_eq!((said.code, said.error()), (Some(1), &*format!("request 1: m: chat_template: line 1: {steps}")));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let dir = Dir::new();
    let model = family().join("ja").display().to_string();
    let check = |args: &[&str], error: &str| {
        let mut command = dir.command(&[&["eval"], args].concat());
        command.env("EVOMERGE_DATA", dir.path("data"));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with(&format!("error: {error}")), "{text}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    };
    let data = dir.path("data").display().to_string();
    check(&[&model, "--tasks", "jnli"], &format!("the data of jnli is not in {data}"));
    check(&[&model, "--tasks", "jnly"], "there is no task `jnly`\n\nhint: did you mean `jnli`?");
    check(&[&model, "--tasks", "jnli", "--protocol", "sakana"], "the protocol sakana has no jnli");
    check(&[&model, "--tasks", "jnli", "--protocol", "stabilty-0.3"], "there is no protocol `stabilty-0.3`");
    check(&[&model, "--tasks", "marc-ja"], "the data of marc-ja is not here, and cannot be downloaded");
    let task = family().join("tasks/mgsm-ja-mini.yaml").display().to_string();
    check(&["--tasks", &task], "no model is named");
    check(&[&model, "--tasks", &task, &task], "task mgsm-ja-mini is named twice");
    check(
        &[&model, "--tasks", "文章題"],
        "there is no task `文章題`\n\nhint: `evomerge tasks` lists them all; a task of your own is a YAML file",
    );
    check(&["--tasks", &task, "--server", "nowhere"], "`nowhere` is not the address of a server");
    fs::write(dir.path("items.jsonl"), "{\"q\": \"1+1=\", \"a\": \"2\"}\n{\"q\": \"1+2=\", \"a\": \"3\"}\n").unwrap();
    let text = "task: apart\ndataset_path: json\ndataset_kwargs: {data_files: {test: items.jsonl}}\ntest_split: test\n\
        output_type: multiple_choice\ndoc_to_text: q\ndoc_to_target: a\ndoc_to_choice: [\"2\", \"3\"]\n\
        metadata: {evomerge: {encoding: {pairs: separate}}}\n";
    fs::write(dir.path("apart.yaml"), text).unwrap();
    // Refused before the model, which would answer first, and before the server, which does not
    // exist.
    let apart = ["--tasks", "apart.yaml", "--server", "http://127.0.0.1:9"];
    let refused =
        "task apart: prompt and choice must be encoded separately, but a server encodes them together\n\nhint: ";
    check(&[&[&*model], &apart[..]].concat(), refused);
    check(&[&apart[..], &["--chat"]].concat(), "task apart: a conversation cannot be scored");
}

#[test]
fn a_memory_that_cannot_be_used_says_what_else_there_is() {
    let dir = Dir::new();
    conversation(&dir);
    dir.write("memory", "a file");
    let said = dir.run(&["eval", "m", "--tasks", "t.yaml", "--memory", "memory"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error().starts_with("cannot create memory/"), "{}", said.err);
    let hint = "`--memory DIR` names another directory; with `--no-memory` nothing is remembered";
    assert_eq!(said.hint(), Some(hint));
}

#[test]
fn a_search_says_which_task_is_not_there() {
    let dir = Dir::new();
    let search = fs::read_to_string(family().join("search.yaml")).unwrap();
    let check = |task: &str, error: &str, hint: &str| {
        dir.write("s.yaml", search.replace("tasks/mgsm-ja-likelihood.yaml", task));
        let said = dir.run(&["search", "s.yaml", "-o", "out"]);
        assert_eq!((said.code, said.error(), said.hint()), (Some(1), error, Some(hint)));
    };
    check(
        "tasks/nowhere.yaml",
        "s.yaml:24:13: tasks/nowhere.yaml does not exist",
        "paths are relative to the file they stand in, else to the current directory; \
         `evomerge tasks` lists the tasks that are built in",
    );
    check(
        "文章題",
        "s.yaml:24:13: there is no task `文章題`",
        "`evomerge tasks` lists them all; a task of your own is a YAML file",
    );
}
