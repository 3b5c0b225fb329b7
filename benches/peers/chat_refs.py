"""Renders the templates of tests/data/chat-templates.json anew, as transformers does.

    python benches/peers/chat_refs.py        # with transformers 5, at the repository's root
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

PATH = Path("tests/data/chat-templates.json")

vocabulary = models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>")
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(vocabulary), bos_token="<s>", eos_token="</s>")

rows = json.loads(PATH.read_text())
for row in rows:
    tokenizer.chat_template = row["template"]
    row["text"] = tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True)
PATH.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
