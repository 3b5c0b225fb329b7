#!/usr/bin/env bash
# Makes a tiny model of each architecture and each rotary embedding with transformers, and writes what transformers computes
# with it: the fixtures of the forward pass, tests/data/architectures.
#
#     benches/peers/architectures.sh [--venv DIR] [CASE…]
#
# Installs transformers and torch to a virtual environment if it is not there yet: evomerge/peers in the user's cache, or DIR.
# A case is made from its name and its seed only, so that making it again gives the same files.
set -euo pipefail
# Nothing is measured against our own program here.
EVOMERGE=none
source "$(dirname "$0")/venv.sh"

exec "$venv/bin/python" -P -W ignore "$root/benches/peers/architectures.py" "$root/tests/data/architectures" ${rest[@]+"${rest[@]}"}
