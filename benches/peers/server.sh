#!/usr/bin/env bash
# Serves a model with llama.cpp, and compares its log-likelihoods and texts with those of our own forward pass.
#
#     benches/peers/server.sh [--venv DIR] MODEL.gguf DIR
#
# MODEL.gguf is the checkpoint in DIR in f32. Installs llama-cpp-python (which is compiled: a C++ compiler is needed) to a virtual
# environment if it is not there yet: evomerge/peers in the user's cache, or DIR.
set -euo pipefail
source "$(dirname "$0")/venv.sh"
gguf=${rest[0]:?MODEL.gguf is missing} dir=${rest[1]:?DIR is missing}

"$venv/bin/python" -c 'import llama_cpp.server.app' 2>/dev/null ||
    "$venv/bin/pip" install --quiet 'llama-cpp-python[server]==0.3.36'
(cd "$root" && cargo build --release --quiet --package evaluator --example server)

port=$("$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
log=$(mktemp)
"$venv/bin/python" -m llama_cpp.server --model "$gguf" --logits_all true --n_ctx 2048 --port "$port" \
    --kv_overrides tokenizer.ggml.add_bos_token=bool:true >"$log" 2>&1 &
trap 'kill $! 2>/dev/null; rm -f "$log"' EXIT
for _ in {1..120}; do
    if "$venv/bin/python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/v1/models')" 2>/dev/null; then
        break
    fi
    kill -0 $! 2>/dev/null || { cat "$log" >&2 && exit 1; }
    sleep 1
done
# The server scores one token late where it puts no BOS before a prompt; its text does the same here.
BOS=$("$venv/bin/python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["bos_token"], end="")' "$dir/tokenizer_config.json") \
    "$built/examples/server" "http://127.0.0.1:$port" "$dir"
