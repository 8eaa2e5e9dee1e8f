#!/usr/bin/env bash
# Runs the tests on the oldest DVC that is supported, one in the middle and the newest, each in an
# environment of its own, and on every Python from 3.11 on that is here.
#
#   matrix.sh [oldest] [middle] [newest] [-- ARGUMENTS OF PYTEST]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
where=${MATRIX_DIR:-${TMPDIR:-/tmp}/dvc-checks-matrix}

# Row, Python, what is installed beside dvc-checks. The older two do not say that they need a pathspec below 1, the
# oldest neither that its pygit2 and dulwich have names that went later.
rows="oldest 3.11 dvc==3.30.3,pathspec<1,pygit2<1.15,dulwich<1
middle 3.12 dvc==3.50.3,pathspec<1
newest 3.13 dvc,dvc-s3,dvc-ssh,moto[server]"

wanted=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do wanted+=("$1"); shift; done
[ $# -eq 0 ] || shift

python_of() {  # the path of this version of Python, from PATH or from pyenv
    local path
    path=$(command -v "python$1") && "$path" -c '' 2>/dev/null && { echo "$path"; return; }
    for path in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        [ -x "$path" ] && { echo "$path"; return; }
    done
    return 1
}

status=0
while read -r row version packages; do
    [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $row "* ]] || continue
    if ! python=$(python_of "$version"); then
        echo "matrix: $row: there is no Python $version here" >&2
        [ -z "${REQUIRE_MATRIX:-}" ] || status=1
        continue
    fi
    environment=$where/$row
    if [ ! -e "$environment/.ready" ]; then
        "$python" -m venv --clear "$environment"
        IFS=, read -ra names <<<"$packages"
        "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "${names[@]}" --editable "$here[test]"
        touch "$environment/.ready"
    fi
    remotes=""; [[ $packages != *moto* ]] || remotes=1
    echo "matrix: $row: $("$environment/bin/python" -c 'import dvc, platform; print("DVC", dvc.__version__, "on Python", platform.python_version())')"
    (cd "$here" && REQUIRE_REMOTES=$remotes "$environment/bin/python" -m pytest -q -p no:cacheprovider "$@") || status=1
done <<<"$rows"
exit $status
