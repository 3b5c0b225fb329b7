#!/usr/bin/env python3
"""How many item evaluations a search takes to reach a score on items it has not seen, by how it spends them.

    benches/searches.py [--evomerge target/release/evomerge] [--seeds 3] [--most 420000] [--policies 1,2,…]

Searches the weights of the models in recipes/sansu, one number for each layer and model, in several ways: every candidate on
all items, as Sakana AI's paper does; on one fixed subset, as mergekit-evolve does with a limit; on a fresh subset for each
generation; with a race in each generation; on subsets that grow; on anchors that stand for more items; and at random. A study goes on with a larger budget each
time. The score is that of the shipped answer on 500 held-out problems: its mean over the seeds, and its standard deviation. Needs nothing but Python.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FAMILY = ROOT / "recipes/sansu"
BUDGETS = [3_000, 6_000, 12_000, 24_000, 42_000, 140_000, 420_000]
# Of each: what a generation's candidates meet, how many problems there are to draw from, and more settings.
POLICIES = {
    "all items, plain CMA-ES": ("1000", 1000, ""),
    "60 items, always the same": ("60", 60, ""),
    "30 fresh items": ("30", 1000, ""),
    "30 fresh items, racing": ("30", 1000, "racing: true"),
    "15 to 60 fresh items": ("{from: 15, to: 60}", 1000, ""),
    "15 to 60 fresh items, racing": ("{from: 15, to: 60}", 1000, "racing: true"),
    "15 to 120 fresh items, racing": ("{from: 15, to: 120}", 1000, "racing: true"),
    "20 anchors of 100 items": ("20", 1000, "anchors: {of: 100, calibration: 8}"),
    "20 anchors of 200 items": ("20", 1000, "anchors: {of: 200, calibration: 5}"),
}


def study(directory, items, problems, more):
    """Writes the files of a study."""
    lines = (FAMILY / "tasks/mgsm-ja-mini.optimise.jsonl").read_text().splitlines(keepends=True)
    (directory / "search.jsonl").write_text("".join(lines[:problems]))
    task = (FAMILY / "tasks/mgsm-ja-likelihood.yaml").read_text()
    (directory / "likelihood.yaml").write_text(task.replace("mgsm-ja-mini.optimise.jsonl", "search.jsonl"))
    hole = "weight: {search: [0.0, 1.5], init: 0.5, per: layer}"
    models = "".join(f"- {{model: {FAMILY / name}, parameters: {{{hole}}}}}\n" for name in ["ja", "math-a", "math-b"])
    (directory / "search.yaml").write_text(
        f"merge_method: task_arithmetic\nbase_model: {FAMILY / 'base'}\nmodels:\n{models}dtype: bfloat16\n"
        "search:\n  optimizer: {name: cma_es, sigma: 0.1, learning_rate_adaptation: false}\n  budget: 3000\n"
        f"  objective:\n  - {{task: likelihood.yaml, items: {items}}}\n"
        f"  - {{task: {FAMILY / 'tasks/mgsm-ja-mini.yaml'}, items: 0}}\n" + (f"  {more}\n" if more else "")
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evomerge", default=ROOT / "target/release/evomerge", type=pathlib.Path)
    parser.add_argument("--seeds", default=3, type=int)
    parser.add_argument("--most", default=BUDGETS[-1], type=int, help="largest budget")
    parser.add_argument("--policies", default=",".join(map(str, range(1, len(POLICIES) + 1))), help="their numbers")
    args = parser.parse_args()
    chosen = [list(POLICIES)[int(number) - 1] for number in args.policies.split(",")]
    budgets = [budget for budget in BUDGETS if budget <= args.most]
    print("| score in %, mean ± deviation of seeds | " + " | ".join(f"{budget:,}" for budget in budgets) + " |")
    print("|---|" + "---:|" * len(budgets), flush=True)
    random = {budget: [] for budget in budgets}
    for name in chosen:
        found = {budget: [] for budget in budgets}
        for seed in range(1, args.seeds + 1):
            with tempfile.TemporaryDirectory() as directory:
                directory = pathlib.Path(directory)
                study(directory, *POLICIES[name])
                for budget in budgets:
                    command = [args.evomerge, "search", "search.yaml", "-o", "out"]
                    command += ["--budget", str(budget), "--seed", str(seed)]
                    run = subprocess.run(command, cwd=directory, capture_output=True, text=True)
                    if "do not pay for one generation" in run.stderr:
                        continue
                    if run.returncode != 0:
                        raise SystemExit(run.stderr)
                    result = json.loads((directory / "out/result.json").read_text())
                    score = lambda model: 100 * model["scores"]["mgsm-ja-mini"]["value"]
                    found[budget].append(score(result["winner"]))
                    random[budget] += [score(m) for m in result["baselines"] if m["name"] == "random search"]
        print(f"| {name} | " + " | ".join(cell(found[budget]) for budget in budgets) + " |", flush=True)
    print("| random search | " + " | ".join(cell(random[budget]) for budget in budgets) + " |")


def cell(scores):
    spread = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.1f}{spread}" if scores else ""


if __name__ == "__main__":
    main()
