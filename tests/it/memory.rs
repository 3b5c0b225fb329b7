//! The estimated memory of a job is close to its real use, and jobs that do not fit are refused.

use crate::{
    kit::{Dir, family},
    queue::ok,
    search::{small_study, study_on},
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::Write as _,
    process::Stdio,
    thread::sleep,
    time::Duration,
};

/// Estimated bytes of a command with two workers.
fn said(dir: &Dir, words: &[&str]) -> u64 {
    let out = ok(dir, &[&["submit", "--json", "--threads", "2", "--"], words].concat()).out;
    serde_json::from_str::<Value>(&out).unwrap()[0]["needs"]["memory"].as_u64().unwrap()
}

/// Peak memory of a command in bytes, without the cache of files.
fn taken(dir: &Dir, words: &[&str]) -> u64 {
    let mut child = dir.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        most = most.max(1024 * kilobytes.unwrap_or(0u64));
        sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success(), "{words:?}");
    most
}

/// Tolerance in bytes for the process itself.
const SLACK: u64 = 8 << 20;

/// Compares the estimate of a command with its use; `more` are arguments only for running it.
fn check(dir: &Dir, words: &[&str], more: &[&str]) {
    let (said, taken) = (said(dir, words), taken(dir, &[words, more].concat()));
    let is_near = said.abs_diff(taken) <= SLACK.max(3 * taken / 10);
    assert!(is_near, "{words:?}: {said} bytes are foretold, {taken} are taken");
}

const SEARCH: &[&str] = &["-o", "out", "--workers", "2"];

/// The small study with a part of it changed.
fn study(from: &str, to: &str) -> Dir {
    let dir = Dir::new();
    small_study(&dir);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    assert!(text.contains(from));
    dir.write("search.yaml", text.replace(from, to).replace("budget: 240", "budget: 120"));
    dir
}

#[test]
fn searches_take_what_is_foretold() {
    let choices = "  - {task: choices.yaml, items: 0}\n  report: []";
    for (from, to) in [
        ("population: 5", "population: 5"),
        ("{name: cma_es, population: 5}", "{name: nsga2, population: 4}"),
        ("  seed: 3\n", "  seed: 3\n  racing: 2\n"),
        ("  report: [choices.yaml]", choices),
        ("  seed: 3\n", "  seed: 3\n  anchors: {of: 12, calibration: 2}\n"),
    ] {
        check(&study(from, to), &["search", "search.yaml"], SEARCH);
    }
}

/// Candidates of a path search share computed states, and stages run one after the other.
#[test]
fn searches_for_paths_take_what_is_foretold() {
    let dir = study("population: 5", "population: 5");
    let math = family().join("math-a").display().to_string();
    let hops = |model: &str| format!("    - {{model: {model}, layer_range: [1, 6], use: {{search: [true, false]}}}}\n");
    let path = |first: &str| {
        format!(
            "merge_method: passthrough\npath:\n- {{model: {first}, layer_range: [0, 1]}}\n- repeats: 1\n  hops:\n{}{}search:\n  \
             budget: 120\n  optimizer: {{name: cat_cma, population: 5}}\n  most_layers: 12\n  objective:\n  - {{task: sums.yaml, items: 8}}\n",
            hops(first),
            hops(&math)
        )
    };
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    // The estimate of shared prompt states follows the budget; with few items, the use is lower.
    study_on(&dir, [60, 12, 24, 16]);
    dir.write("stages.yaml", format!("name: mixed\n{text}---\n{}", path("mixed")));
    check(&dir, &["search", "stages.yaml"], SEARCH);
}

#[test]
fn a_merge_and_an_eval_take_what_is_foretold() {
    let dir = study("population: 5", "population: 5");
    let model = family().join("ja").display().to_string();
    dir.write(
        "merge.yaml",
        format!(
            "merge_method: linear\nmodels:\n- {{model: {model}, parameters: {{weight: 1}}}}\n- {{model: {}, parameters: {{weight: 1}}}}\n",
            family().join("math-a").display()
        ),
    );
    // Blocks of any size would do, so the estimate is an upper bound.
    let (foretold, taken) =
        (said(&dir, &["merge", "merge.yaml"]), taken(&dir, &["merge", "merge.yaml", "-o", "merged"]));
    assert!(taken <= foretold && foretold < 32 << 20, "{foretold} {taken}");
    check(&dir, &["eval", &model, "--no-memory", "--tasks", "sums.yaml", "choices.yaml"], &[]);
}

/// A Llama checkpoint of real shapes, of which only the header takes space on the disk.
fn sparse(dir: &Dir, name: &str, [layers, hidden, inner]: [usize; 3]) {
    const VOCAB: usize = 32_000;
    let mut tensors = vec![
        ("lm_head.weight".to_owned(), vec![VOCAB, hidden]),
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    for layer in 0..layers {
        let mut add = |name: &str, shape: &[usize]| {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        };
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(&format!("self_attn.{name}"), &[hidden, hidden]);
        }
        add("mlp.gate_proj", &[inner, hidden]);
        add("mlp.up_proj", &[inner, hidden]);
        add("mlp.down_proj", &[hidden, inner]);
        add("input_layernorm", &[hidden]);
        add("post_attention_layernorm", &[hidden]);
    }
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] }));
    }
    let header = serde_json::to_vec(&header).unwrap();
    dir.write(&format!("{name}/config.json"), json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 32, "num_key_value_heads": 32,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
    }).to_string());
    for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        fs::copy(family().join("ja").join(file), dir.path(name).join(file)).unwrap();
    }
    let mut file = File::create(dir.path(name).join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

/// The small study with two such models.
fn large(shape: [usize; 3]) -> Dir {
    let dir = Dir::new();
    small_study(&dir);
    sparse(&dir, "a", shape);
    sparse(&dir, "b", shape);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    let (_, search) = text.split_once("search:\n").unwrap();
    let model = |name: &str| format!("- {{model: {name}, parameters: {{weight: {{search: [0.0, 1.0]}}}}}}\n");
    let recipe = format!("merge_method: linear\nmodels:\n{}{}dtype: bfloat16\n", model("a"), model("b"));
    dir.write("search.yaml", format!("{recipe}search:\n{search}"));
    dir
}

/// Each combination of choices is a recipe of its own, and the largest counts, in any order.
#[test]
fn the_largest_choice_counts_in_what_is_foretold() {
    let dir = large([2, 256, 512]);
    for name in ["c", "d"] {
        sparse(&dir, name, [4, 512, 1024]);
    }
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    let (recipe, search) = text.split_once("dtype: bfloat16\n").unwrap();
    let [small, large] = [["a", "b"], ["c", "d"]].map(|names| {
        let model = |name| format!("{{model: {name}, parameters: {{weight: {{search: [0.0, 1.0]}}}}}}");
        format!("[{}]", names.map(model).join(", "))
    });
    let foretold = |models: &str| {
        let method = recipe.split_once('\n').unwrap().0;
        dir.write("choice.yaml", format!("{method}\nmodels: {models}\ndtype: bfloat16\n{search}"));
        said(&dir, &["search", "choice.yaml"])
    };
    let [alone, largest] = [&small, &large].map(|models| foretold(models));
    assert!(largest > 2 * alone, "{alone} {largest}");
    for (first, second) in [(&small, &large), (&large, &small)] {
        // The estimate adds a little to the largest models for the records of one more variant.
        assert!(foretold(&format!("{{choose: [{first}, {second}]}}")).abs_diff(largest) < 1 << 20);
    }
}

/// The estimate counts the store's records for the budget of the command line, not of the file.
#[test]
fn a_budget_that_is_given_counts_in_what_is_foretold() {
    let dir = study("population: 5", "population: 5");
    let [small, large] = [&["search", "search.yaml"][..], &["search", "search.yaml", "--budget", "200000"]]
        .map(|words| said(&dir, words));
    assert!(large > small + (40 << 20), "{small} {large}");
}

/// The amount of memory in an error.
fn needed(error: &str) -> String {
    error.split_once("it needs about ").unwrap().1.split_once(" of memory").unwrap().0.to_owned()
}

/// A thousand times: 2 bytes for each of 6.7 billion parameters, 2 GiB of keys and values, and a
/// bit.
#[test]
fn a_model_of_7b_takes_what_its_weights_and_its_sequences_do() {
    let dir = large([32, 4096, 11_008]);
    let said = dir.run(&["search", "search.yaml", "-o", "out", "--workers", "1000"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let number = needed(said.error());
    let terabytes: f64 = number.strip_suffix(" TB").unwrap().parse().unwrap();
    assert!((16.0..20.0).contains(&terabytes), "{number}");
}

/// `search` and `submit` say the same before anything is read, and the hint is true.
#[test]
fn what_no_machine_holds_is_refused_by_search_and_submit_alike() {
    let dir = large([2000, 16_384, 53_248]);
    for workers in ["1", "2"] {
        let search = dir.run(&["search", "search.yaml", "-o", "out", "--workers", workers]);
        let submit = dir.run(&["submit", "search.yaml", "--", "--workers", workers]);
        assert_eq!((search.code, submit.code), (Some(1), Some(1)));
        assert_eq!(needed(search.error()), needed(submit.error()));
        assert!(search.error().starts_with("search.yaml: it needs about "), "{}", search.error());
        let alone = "take smaller models, or a machine with more memory";
        for said in [&search, &submit] {
            let hint = said.hint().unwrap();
            let is_true =
                if workers == "1" { hint == alone } else { hint.starts_with("with `--workers 1` it needs about ") };
            assert!(is_true && hint.ends_with(alone), "{hint}");
        }
    }
    assert!(!dir.path("out").exists());
    let said = dir.run(&["search", "search.yaml", "-o", "out"]);
    assert_eq!((said.code, said.hint()), (Some(1), Some("take smaller models, or a machine with more memory")));
}
