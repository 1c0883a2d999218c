#!/usr/bin/env bash
# Make a virtual environment with Python 3.11 or newer, with what Debian leaves out of its python3 package.
# Usage: make-venv.sh PYTHON DIRECTORY
set -euo pipefail

python=$1
directory=$2
here=$(dirname "$0")

if ! command -v "$python" >/dev/null; then
    "$here/ensure-package.sh" python3 python3-venv
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $("$python" --version) is too old, 3.11 or newer is needed; name one: make PYTHON=python3.11 …" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$here/ensure-package.sh" python3-venv
fi
"$python" -m venv "$directory"
