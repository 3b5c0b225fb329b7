#!/usr/bin/env python3
"""A judge for `evomerge search`: scores a model on items of a task with lm-evaluation-harness (0.4.13, model type `hf`).

Usage: score.py MODEL TASK.yaml METRIC DEVICE < items. Each item names in `doc` the index of a document of the task's test split.
"""

import json
import os
import sys

model, task_file, metric, device = sys.argv[1:]
items = [json.loads(line) for line in sys.stdin if line.strip()]
# Whatever a library prints goes to the error output: only scores are told.
told = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
# The harness looks for a task's data from where it runs.
os.chdir(os.path.dirname(os.path.abspath(task_file)))
name = os.path.splitext(os.path.basename(task_file))[0]

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

done = simple_evaluate(
    model="hf",
    model_args={"pretrained": model, "dtype": "float32"},
    tasks=[name],
    task_manager=TaskManager(include_path=".", include_defaults=False),
    samples={name: [item["doc"] for item in items]},
    device=device,
    batch_size=16,
    bootstrap_iters=0,
)
# A document has a sample for each filter; the last is the one that the task's results name last.
scores = {sample["doc_id"]: sample for sample in done["samples"][name]}
for item in items:
    sample = scores[item["doc"]]
    print(json.dumps({"id": item["id"], "score": sample[metric], "text": str(sample["filtered_resps"][0])}), file=told)
