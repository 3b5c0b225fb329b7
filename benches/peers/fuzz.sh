#!/usr/bin/env bash
# Holds the server's HTTP API against its own OpenAPI description with schemathesis: thousands of requests, right and wrong.
#
#     benches/peers/fuzz.sh [--examples N]
#
# Installs schemathesis into a virtual environment if it is not there yet: evomerge/fuzz in the user's cache. N requests for each way
# in, 200 unless said. Ends with 1 if an answer is not as described, or if the server fails.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
examples=200
while (($#)); do
    case $1 in
    --examples) examples=${2:?--examples needs a number} && shift 2 ;;
    *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit 2 ;;
    esac
done
venv=${XDG_CACHE_HOME:-$HOME/.cache}/evomerge/fuzz
if [[ ! -x $venv/bin/schemathesis ]]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet 'schemathesis>=4.32,<5'
fi
[[ -n ${EVOMERGE-} ]] || (cd "$root" && cargo build --release --quiet --bin evomerge)
evomerge=${EVOMERGE:-${CARGO_TARGET_DIR:-$root/target}/release/evomerge}

place=$(mktemp -d)
export EVOMERGE_HOME=$place/home
cp -r "$root/recipes" "$place/recipes"
cd "$place"
: >"$place/log"
"$evomerge" serve --listen 127.0.0.1:0 --root recipes 2>"$place/log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true; rm -rf "$place"' EXIT
until url=$(sed -n 's/^listening on //p' "$place/log") && [[ -n $url ]]; do sleep 0.1; done
# News never end, so that one cannot wait for their end. No schema can say which recipes can be done, so that what it allows may
# still be refused.
"$venv/bin/schemathesis" run "$url/api/openapi.json" --exclude-path /api/events \
    --exclude-checks positive_data_acceptance --max-examples "$examples" --request-timeout 30
kill -0 $server || { cat "$place/log" >&2 && exit 1; }
