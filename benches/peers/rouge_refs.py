"""Writes tests/data/rouge-tokens.json: ROUGE of a model's own tokens, as Stability AI's harness counts XLSum.

    python benches/peers/rouge_refs.py          # in the root of the repository, with transformers and rouge_score

The harness hands rouge_score the tokenizer of the model (`task.set_tokenizer`), whose `tokenize` cuts both texts as they are.
"""

import json
from pathlib import Path

from rouge_score.rouge_scorer import RougeScorer
from transformers import AutoTokenizer

TEXTS = [
    ("太郎はりんごを3個買いました。", "太郎はりんごを5個買い、花子に2個あげました。"),
    ("残りは6個です。", "残りは6個です。"),
    ("　残りは　６個です！ ", "残りは6個です。"),
    ("花子は公園で花を10本見つけました。赤い花は4本です。", "公園で見つけた花は10本で、うち4本が赤い花だった。"),
    ("", "残りは6個です。"),
    ("😀", "残りは6個です。"),
]

tokenizer = AutoTokenizer.from_pretrained("recipes/sansu/ja")
scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=tokenizer)
rows = []
for answer, gold in TEXTS:
    scores = {name: score.fmeasure for name, score in scorer.score(gold, answer).items()}
    rows.append(json.dumps({"answer": answer, "gold": gold, **scores}, ensure_ascii=False))
Path("tests/data/rouge-tokens.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")
