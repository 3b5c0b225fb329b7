#!/usr/bin/env bash
# evomerge beside mergekit 0.1.5, on the models of `cargo bench --bench merging -- --large`.
#
#     benches/peers/mergekit.sh [--venv DIR] [--models DIR] [--small] [--runs N] [METHOD…]
#
# Installs mergekit to a virtual environment (6 GB; 1 GB with TORCH_INDEX) and makes models (7 GB), each if it is not there
# yet: in evomerge/peers and evomerge/synthetic of the user's cache, or where the options say. Three runs of all methods take
# an hour, nearly all of it mergekit's. EVOMERGE may name another build.
set -euo pipefail
source "$(dirname "$0")/venv.sh"

size=--large models=() args=()
set -- ${rest[@]+"${rest[@]}"}
while (($#)); do
    case $1 in
    --models) models=(--models "${2:?--models needs a directory}") && shift 2 ;;
    --small) size= && shift ;;
    *) args+=("$1") && shift ;;
    esac
done
dir=$(cd "$root" && cargo bench --quiet --bench merging -- --make $size ${models[@]+"${models[@]}"})
exec "$venv/bin/python" -P "$root/benches/peers/side_by_side.py" \
    --evomerge "$evomerge" --mergekit "$venv/bin/mergekit-yaml" --models "$dir" ${args[@]+"${args[@]}"}
