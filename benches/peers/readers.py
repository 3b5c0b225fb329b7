"""Reads what `evomerge eval --json DIR` wrote with the readers of lm-evaluation-harness: its tables, its samples, its means.

    python benches/peers/readers.py DIR         # with lm-eval 0.4.13 and datasets; fails where something cannot be read
"""

import json
import sys
import tempfile
from pathlib import Path

import datasets
from lm_eval.api.metrics import mean, mean_stderr
from lm_eval.utils import (
    get_file_datetime,
    get_file_task_name,
    get_latest_filename,
    get_results_filenames,
    get_sample_results_filenames,
    make_table,
)

root = Path(sys.argv[1])
# With the model's directory, as lm-eval asks a repository of results.
names = [str(path.relative_to(root.parent)) for path in root.rglob("*") if path.is_file()]
assert get_results_filenames(names), f"no results in {root}"
results = get_latest_filename(get_results_filenames(names))
date = get_file_datetime(results).removesuffix(".json")
results = json.loads((root.parent / results).read_text())
print(make_table(results))
if "groups" in results:
    table = make_table(results, "groups")
    print(table)
    assert all(group["alias"] in table for group in results["groups"].values()), "a group is not in the table"

for name in get_sample_results_filenames(names):
    if get_file_datetime(name) != date:
        continue
    task = get_file_task_name(Path(name).name)
    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("json", data_files=str(root.parent / name), split="train", cache_dir=cache)
        scores = {
            (metric, row["filter"]): [other[metric] for other in rows if other["filter"] == row["filter"]]
            for row in rows
            for metric in row["metrics"]
        }
    for (metric, filter), values in scores.items():
        if isinstance(values[0], list):
            continue  # of all items together
        known = results["results"][task]
        for value, key in ((mean(values), metric), (mean_stderr(values), f"{metric}_stderr")):
            assert abs(float(value) - known[f"{key},{filter}"]) < 1e-9, (task, key, filter, value)
    print(f"{task}: {len(rows)} rows, the means are those of the results")
