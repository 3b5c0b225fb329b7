#!/usr/bin/env bash
# Runs the bundled search through workers of a real Slurm and a real Ray, kills workers, nodes and searches, and compares the bytes.
#
#     benches/peers/machines.sh [--slurm] [--ray] [--venv DIR] [--kills N] [--budget N]
#
# Without --slurm or --ray, the workers are processes of this machine. --slurm wants a Slurm that runs, on which `srun -n1` starts at once.
# --ray installs Ray 2.60 (700 MB) to evomerge/ray in the user's cache, or DIR, if it is not there yet, and starts a cluster of two nodes.
set -euo pipefail
name=ray
source "$(dirname "$0")/options.sh"

carriers=() others=()
for word in "${rest[@]}"; do
    case $word in
    --slurm | --ray) carriers+=("${word#--}") ;;
    *) others+=("$word") ;;
    esac
done
python=python3
if [[ " ${carriers[*]-} " == *" ray "* ]]; then
    if [[ ! -x $venv/bin/ray ]]; then
        echo "installing Ray 2.60 to $venv" >&2
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet 'ray==2.60.0'
    fi
    python=$venv/bin/python
fi
[[ -n ${EVOMERGE-} ]] || (cd "$root" && cargo build --release --quiet --bin evomerge)
export EVOMERGE=${EVOMERGE:-${CARGO_TARGET_DIR:-$root/target}/release/evomerge} EVOMERGE_LANG=en
for carrier in "${carriers[@]:-local}"; do
    "$python" "$root/benches/peers/clusters.py" "$carrier" "${others[@]}"
done
