"""Writes tests/data/lm_eval: what lm-evaluation-harness 0.4.13 asks and writes, of documents that were made up for it.

    python benches/peers/lm_eval_files.py        # with lm-eval 0.4.13, at the repository's root

`documents/*.jsonl` are in the shapes of JCommonsenseQA, JNLI, JSQuAD, MGSM and XWinograd. `eleuther.jsonl` has what the
harness's own Japanese tasks ask of them. `tasks/` are a few tasks of ours and their group, and `written/` the files that the
harness writes of those. The model is a hash of what it is asked.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from unittest import mock

import datasets
import lm_eval
from lm_eval.api.model import LM
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

OUT = Path("tests/data/lm_eval")
STAMP = "2026-11-29T00-00-00.000000"

NAMES = ["桜", "太郎", "葵", "一郎", "恵", "花子", "健", "直子", "誠", "美咲", "翔", "優"]
THINGS = ["りんご", "鉛筆", "あめ", "カード", "本", "花", "みかん", "風船", "切手", "貝殻", "石", "絵はがき"]
PLACES = ["駅前", "公園", "図書館", "港", "市場", "寺", "学校", "湖", "橋", "畑", "城跡", "灯台"]


def commonsense(i):
    choices = [THINGS[(i * 5 + j * 7) % 12] for j in range(5)]
    return {
        "q_id": i,
        "question": f"{NAMES[i % 12]}が{PLACES[i * 5 % 12]}で「{choices[i % 5][0]}」から始まる物を買った。何を買った？",
        **{f"choice{j}": choice for j, choice in enumerate(choices)},
        "label": i % 5,
    }


def entailment(i):
    name, place, thing = NAMES[i % 12], PLACES[i * 7 % 12], THINGS[i * 5 % 12]
    other = [f"{name}は{place}にいる。", f"{place}には誰もいない。", f"{name}は{thing}が好きだ。"][i % 3]
    return {
        "sentence_pair_id": str(i),
        "yjcaptions_id": f"{i}-{i + 1}-{i + 2}",
        "sentence1": f"{name}が{place}で{thing}を手に持っている。",
        "sentence2": other,
        "label": i % 3,
    }


def reading(i):
    name, place, thing = NAMES[i * 5 % 12], PLACES[i % 12], THINGS[i * 7 % 12]
    text = f"{place}の歴史 [SEP] {place}は{1600 + 13 * i}年に造られた。{name}が　{thing}を寄せたことで知られる。 "
    golds = [thing] if i % 2 else [thing, f"{thing}を寄せた"]
    return {
        "id": f"a{i}p0q0",
        "title": f"{place}の歴史",
        "context": text,
        "question": f"{name}が寄せたものは何ですか？",
        "answers": {"text": golds, "answer_start": [text.index(gold) for gold in golds]},
        "is_impossible": False,
    }


def problem(i, worked):
    name, thing = NAMES[i % 12], THINGS[i * 7 % 12]
    a, b = 37 * (i + 3) % 900 + 400 * (i % 4), 11 * i + 8
    question = f"{name}は{thing}を{a}個持っています。{b}個もらうと何個になりますか？"
    answer = f"{a}+{b}={a + b}。答えは{a + b}です。"
    return {
        "question": f"問題：{question}" if worked else question,
        "answer": f"ステップごとの答え：{answer}" if worked else None,
        "answer_number": a + b,
        "equation_solution": None,
    }


def winograd(i):
    one, other, thing = NAMES[i % 12], NAMES[(i * 5 + 3) % 12], THINGS[i * 7 % 12]
    sentence = f"{one}は{other}に{thing}を渡した。{{}}が欲しがったからだ。"
    return {"sentence1": sentence.format(one), "sentence2": sentence.format(other), "answer": 1 + i % 2}


def made(make, first, count, *more):
    return [make(i, *more) for i in range(first, first + count)]


DOCUMENTS = {
    "commonsense.train": made(commonsense, 0, 14),
    "commonsense.validation": made(commonsense, 20, 6),
    "entailment.train": made(entailment, 0, 14),
    "entailment.validation": made(entailment, 20, 6),
    "reading.train": made(reading, 0, 14),
    "reading.validation": made(reading, 20, 6),
    "problems.train": made(problem, 0, 8, True),
    "problems.test": made(problem, 20, 7, False),
    "winograd.test": made(winograd, 0, 6),
}

# The harness's own tasks, by the documents they are asked of.
ELEUTHER = {
    "ja_leaderboard_jcommonsenseqa": ("commonsense", ["train", "validation"]),
    "ja_leaderboard_jnli": ("entailment", ["train", "validation"]),
    "ja_leaderboard_jsquad": ("reading", ["train", "validation"]),
    "ja_leaderboard_mgsm": ("problems", ["train", "test"]),
    "ja_leaderboard_xwinograd": ("winograd", ["test"]),
    "mgsm_direct_ja": ("problems", ["train", "test"]),
    "mgsm_native_cot_ja": ("problems", ["train", "test"]),
}

TASKS = {
    "made_up_choices.yaml": """\
# Few-shot examples, a description, choices out of fields, two measures.
task: made_up_choices
dataset_path: json
dataset_kwargs: {data_files: {train: documents/commonsense.train.jsonl, validation: documents/commonsense.validation.jsonl}}
training_split: train
validation_split: validation
fewshot_split: train
num_fewshot: 3
description: "正しいものを選んでください。\\n\\n"
output_type: multiple_choice
doc_to_text: "質問：{{ question | trim }}\\n{% for c in [choice0, choice1, choice2, choice3, choice4] %}{{ loop.index }}. {{ c }}\\n{% endfor %}答え："
doc_to_choice: "{{ [choice0, choice1, choice2, choice3, choice4] }}"
doc_to_target: label
target_delimiter: " "
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
""",
    "made_up_pairs.yaml": """\
# No examples; choices that are given.
task: made_up_pairs
dataset_path: json
dataset_kwargs: {data_files: {train: documents/entailment.train.jsonl, validation: documents/entailment.validation.jsonl}}
training_split: train
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{sentence1}}\\n{{sentence2}}\\nこの二つの関係は"
doc_to_choice: ["含意", "矛盾", "中立"]
doc_to_target: label
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 2.0}
""",
    "made_up_problems.yaml": """\
# Generation, and three ways to read an answer.
task: made_up_problems
dataset_path: json
dataset_kwargs: {data_files: {train: documents/problems.train.jsonl, test: documents/problems.test.jsonl}}
training_split: train
test_split: test
num_fewshot: 2
output_type: generate_until
doc_to_text: "問題：{{question|replace('問題：', '')}}\\n答え："
doc_to_target: "{{answer_number}}"
target_delimiter: ""
generation_kwargs: {until: ["\\n\\n", "\\n"], do_sample: false, temperature: 0.0}
filter_list:
  - name: said
    filter: [{function: regex, regex_pattern: '答えは(\\-?[0-9\\.\\,]+)です'}, {function: take_first}]
  - name: last
    filter: [{function: regex, group_select: -1, regex_pattern: '(-?[$0-9.,]{2,})|(-?[0-9]+)'}, {function: take_first}]
  - name: bare
    filter: [{function: remove_whitespace}, {function: take_first}]
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true, ignore_punctuation: true}
metadata: {version: 1.0}
""",
    "made_up_reading.yaml": """\
# Generation; what an answer is compared without.
task: made_up_reading
dataset_path: json
dataset_kwargs: {data_files: {train: documents/reading.train.jsonl, validation: documents/reading.validation.jsonl}}
training_split: train
validation_split: validation
num_fewshot: 1
output_type: generate_until
doc_to_text: "{{ context.split('[SEP]')[-1] | trim }}\\n質問：{{ question }}\\n答え："
doc_to_target: "{{ answers['text'][0] }}"
generation_kwargs: {until: ["\\n\\n"], do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true, regexes_to_ignore: ['^\\s+', '\\s+$', '。']}
metadata: {version: 1.0}
""",
    "made_up.yaml": """\
group: made_up
task: [made_up_choices, made_up_pairs, made_up_problems, made_up_reading]
aggregate_metric_list:
  - {metric: acc, aggregation: mean, weight_by_size: true}
metadata: {version: 1.0}
""",
}


class Hashing(LM):
    """A number made of the prompt decides each answer."""

    def __init__(self):
        super().__init__()
        self._rank, self._world_size = 0, 1

    @staticmethod
    def number(*parts):
        return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:8], "big")

    def loglikelihood(self, requests):
        def one(prompt, choice):
            h = self.number(prompt, choice)
            return -(h / 2**64) * (1 + len(choice)), h & 1 == 1

        return [one(*request.args) for request in requests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

    def generate_until(self, requests):
        def one(request):
            prompt, doc = request.args[0], request.doc
            gold = str(doc["answer_number"]) if "answer_number" in doc else doc["answers"]["text"][0]
            texts = ["答えは{}です。", " {} ", "たしか{}、いや７です", "答えは{}.00です。答えは1,{}です。", "{}。", "わかりません"]
            return texts[self.number(prompt) % 6].replace("{}", gold)

        return [one(request) for request in requests]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    for name, rows in DOCUMENTS.items():
        write(OUT / f"documents/{name}.jsonl", lines(rows))
    for name, text in TASKS.items():
        write(OUT / "tasks" / name, text)

    asked = []
    for task, (name, splits) in ELEUTHER.items():
        # The harness's own task, of other documents.
        made_up = datasets.DatasetDict({split: datasets.Dataset.from_list(DOCUMENTS[f"{name}.{split}"]) for split in splits})
        with mock.patch("datasets.load_dataset", lambda *_, made_up=made_up, **__: made_up):
            results = lm_eval.simple_evaluate(model=Hashing(), tasks=[task], bootstrap_iters=0, log_samples=True)
        # A document is there once for each filter.
        samples = {sample["doc_id"]: sample for sample in results["samples"][task]}
        for sample in samples.values():
            asked.append({key: sample[key] for key in ("doc_id", "arguments")} | {"task": task})
    write(OUT / "eleuther.jsonl", lines(asked))

    # In the folder itself, so that no path of this machine is written.
    os.chdir(OUT)
    manager = TaskManager(include_path="tasks", include_defaults=False)
    results = lm_eval.simple_evaluate(
        model=Hashing(), tasks=["made_up"], task_manager=manager, bootstrap_iters=100_000, log_samples=True
    )
    samples = results.pop("samples")
    results["git_hash"] = None
    tracker = EvaluationTracker(output_path="raw")
    tracker.general_config_tracker.model_name = "hashing"
    tracker.general_config_tracker.model_name_sanitized = "hashing"
    tracker.save_results_aggregated(results=results, samples=samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)
    Path("written").mkdir()
    for file in Path("raw").rglob("*.json*"):
        file.rename(Path("written") / file.name.replace(tracker.date_id, STAMP))
    shutil.rmtree("raw")


main()
