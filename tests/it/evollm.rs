//! The recipes of EvoLLM-JP, on stand-ins that have the names and shapes of the real models.

use crate::kit::{Dir, Said, program, root};
use std::process::Command;

#[test]
#[cfg_attr(not(has_python), ignore = "there is no python3")]
fn the_candidate_that_the_papers_search_begins_with_can_be_merged() {
    let (dir, recipes) = (Dir::new(), root().join("recipes/evollm-jp"));
    let mut script = Command::new(program(&["python3"]));
    script.arg(recipes.join("sparse-models.py")).arg("--hub-cache").arg(dir.path("hub"));
    assert!(script.status().unwrap().success());
    let mut plan = dir.command(&["plan", recipes.join("start.yaml").to_str().unwrap()]);
    let said = Said::of(plan.env("HF_HUB_CACHE", dir.path("hub")).env("HF_HUB_OFFLINE", "1").output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let all = said.out + &said.err;
    assert!(all.contains("291 tensors: reads 57.9 GB, writes 14.5 GB"), "{all}");
}
