# Sourced by the scripts beside it: reads --venv, makes the environment if it is not there, and builds the program.
# Afterwards: $root, $venv, $evomerge, and $rest, the options that are the caller's.

name=peers
source "$(dirname "${BASH_SOURCE[0]}")/options.sh"

# One environment for both: mergekit brings transformers, peft and the others. It is 6 GB, nearly all of it torch's code for
# GPUs; TORCH_INDEX may name an index with CPU wheels.
if [[ ! -e $venv/complete ]]; then
    echo "installing mergekit 0.1.5, torch, transformers and peft to $venv" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.15.0
    "$venv/bin/pip" install --quiet mergekit==0.1.5 'transformers>=5,<6' peft safetensors tokenizers torch==2.15.0
    touch "$venv/complete"
fi

built=${CARGO_TARGET_DIR:-$root/target}/release
[[ -n ${EVOMERGE-} ]] || (cd "$root" && cargo build --release --quiet --bin evomerge)
evomerge=${EVOMERGE:-$built/evomerge}
# What is local is meant, whatever it is called.
export HF_HUB_OFFLINE=1
