//! EleutherAI's tasks as built in, against what lm-evaluation-harness 0.4.13 asked with its own files.

use super::*;

/// Its examples came from smaller pools, so all but the examples is compared.
#[test]
fn prompts_are_those_of_eleuther_to_the_byte() {
    let (Some(shelf), Some(out)) = (shelf(), shared("conformance/evaluator/lm_eval_local/out")) else { return };
    for name in [
        "ja_leaderboard_jcommonsenseqa",
        "ja_leaderboard_jnli",
        "ja_leaderboard_jsquad",
        "ja_leaderboard_mgsm",
        "ja_leaderboard_xwinograd",
        "mgsm_direct_ja",
        "mgsm_native_cot_ja",
    ] {
        let task = find(name, "eleuther").unwrap().read(Fractions::default(), &shelf).unwrap();
        let text =
            fs::read_to_string(out.join(format!("samples_local_{name}_2026-11-22T03-52-23.162403.jsonl"))).unwrap();
        let ids = task.split(Split::Report);
        for line in text.lines() {
            let sample: Value = serde_json::from_str(line).unwrap();
            let number = sample["doc_id"].as_u64().unwrap() as usize;
            let place = format!("{name} {number}");
            let requests = task.requests(&ids[number..=number]);
            let (prompt, asked) = (&requests[0].prompt, sample["arguments"].as_object().unwrap());
            let context = asked["gen_args_0"]["arg_0"].as_str().unwrap();
            assert!(context.starts_with(&prompt.head) && context.ends_with(&prompt.question), "{place}: {context}");
            let between = context.len() - prompt.head.len() - prompt.question.len();
            if let Some(shot) = prompt.shots.last() {
                let examples = &context[prompt.head.len()..][..between];
                assert!(examples.ends_with(&shot.after) && examples.contains(&shot.delimiter), "{place}: {examples}");
            }
            match &requests[0].ask {
                Ask::Choose { choices } => {
                    let wanted: Vec<&str> = asked.values().map(|one| one["arg_1"].as_str().unwrap()).collect();
                    assert_eq!(choices, &wanted, "{place}");
                }
                Ask::Generate { stop, limit } => {
                    let until = asked["gen_args_0"]["arg_1"]["until"].as_array().unwrap();
                    assert_eq!(stop, &until.iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>(), "{place}");
                    assert_eq!(limit, &Limit::Tokens(256), "{place}");
                }
                Ask::Read { .. } => panic!("{place}: nothing is read"),
            }
            assert_eq!(requests[0].encoding, Encoding { pairs: Pairs::Joint, bare: false, start: Start::Bos });
        }
    }
}
