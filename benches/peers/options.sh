# Sourced by the scripts beside it, which set $name: reads --venv, by default evomerge/$name in the user's cache.
# Afterwards: $root, $venv, and $rest, the options that are the caller's.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/evomerge/$name
rest=()
while (($#)); do
    case $1 in
    --venv) venv=${2:?--venv needs a directory} && shift 2 ;;
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;;
    *) rest+=("$1") && shift ;;
    esac
done
