#!/usr/bin/env bash
# Loads what evomerge writes into transformers, unchanged, and compares its logits with those of our own forward pass.
#
#     benches/peers/transformers.sh [--venv DIR] [CASE…]
#
# Installs transformers, peft and torch to a virtual environment if it is not there yet: evomerge/peers in the user's cache,
# or DIR. EVOMERGE may name another build.
set -euo pipefail
source "$(dirname "$0")/venv.sh"

(cd "$root" && cargo build --release --quiet --package evaluator --example logits)
exec "$venv/bin/python" -P -W ignore::FutureWarning "$root/benches/peers/logits.py" \
    --evomerge "$evomerge" --logits "$built/examples/logits" ${rest[@]+"${rest[@]}"}
