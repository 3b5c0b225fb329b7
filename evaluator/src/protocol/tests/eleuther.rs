//! EleutherAI's built-in tasks, compared with requests that lm-evaluation-harness 0.4.13 made from its own files.

use super::*;
use crate::request::Request;

const TASKS: [&str; 7] = [
    "ja_leaderboard_jcommonsenseqa",
    "ja_leaderboard_jnli",
    "ja_leaderboard_jsquad",
    "ja_leaderboard_mgsm",
    "ja_leaderboard_xwinograd",
    "mgsm_direct_ja",
    "mgsm_native_cot_ja",
];

/// Compares a request with the harness's arguments: a context, and a continuation or settings of generation.
#[track_caller]
fn check(place: &str, request: &Request, asked: &[[&Value; 2]], whole: bool) {
    let (prompt, context) = (&request.prompt, asked[0][0].as_str().unwrap());
    if whole {
        assert_eq!(prompt.text(), context, "{place}");
    }
    assert!(context.starts_with(&prompt.head) && context.ends_with(&prompt.question), "{place}: {context}");
    let between = context.len() - prompt.head.len() - prompt.question.len();
    if let Some(shot) = prompt.shots.last() {
        let examples = &context[prompt.head.len()..][..between];
        assert!(examples.ends_with(&shot.after) && examples.contains(&shot.delimiter), "{place}: {examples}");
    }
    match &request.ask {
        Ask::Choose { choices } => {
            let wanted: Vec<&str> = asked.iter().map(|[_, choice]| choice.as_str().unwrap()).collect();
            assert_eq!(choices, &wanted, "{place}");
        }
        Ask::Generate { stop, limit } => {
            let until = asked[0][1]["until"].as_array().unwrap();
            assert_eq!(stop, &until.iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>(), "{place}");
            assert_eq!(limit, &Limit::Tokens(256), "{place}");
        }
        Ask::Read { .. } => panic!("{place}: nothing is read"),
    }
    assert_eq!(request.encoding, Encoding { pairs: Pairs::Joint, bare: false, start: SequenceStart::Bos });
}

#[test]
fn prompts_are_those_of_eleuther_to_the_byte() {
    let text = fs::read_to_string(made_up("eleuther.jsonl")).unwrap();
    let samples: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for name in TASKS {
        let task = find(name, "eleuther").unwrap().read(Fractions::default(), &MadeUp).unwrap();
        let ids = task.split(Split::Report);
        let samples: Vec<&Value> = samples.iter().filter(|sample| sample["task"] == name).collect();
        assert_eq!(samples.len(), ids.len(), "{name}");
        for sample in samples {
            let number = sample["doc_id"].as_u64().unwrap() as usize;
            let asked: Vec<[&Value; 2]> =
                sample["arguments"].as_array().unwrap().iter().map(|one| [&one[0], &one[1]]).collect();
            check(&format!("{name} {number}"), &task.requests(&ids[number..=number])[0], &asked, true);
        }
    }
}

/// The harness's examples came from smaller pools, so all but the examples is compared.
#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn prompts_of_the_benchmarks_are_those_of_eleuther() {
    let (shelf, out) = (shelf(), shared("conformance/evaluator/lm_eval_local/out"));
    for name in TASKS {
        let task = find(name, "eleuther").unwrap().read(Fractions::default(), &shelf).unwrap();
        let text =
            fs::read_to_string(out.join(format!("samples_local_{name}_2026-11-22T03-52-23.162403.jsonl"))).unwrap();
        let ids = task.split(Split::Report);
        for line in text.lines() {
            let sample: Value = serde_json::from_str(line).unwrap();
            let number = sample["doc_id"].as_u64().unwrap() as usize;
            let asked: Vec<[&Value; 2]> =
                sample["arguments"].as_object().unwrap().values().map(|one| [&one["arg_0"], &one["arg_1"]]).collect();
            check(&format!("{name} {number}"), &task.requests(&ids[number..=number])[0], &asked, false);
        }
    }
}
