#!/usr/bin/env bash
# Print a folder that holds what the tests of hosts need beside the virtual environment, fetching what is missing.
#
#   npm/         packages that an exported notebook loads from a CDN: the tests answer these requests themselves; and the MyST builder
#   ipykernel-*  other versions of ipykernel, each alone in a folder for the front of PYTHONPATH
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VENV:-.venv}"
case "$venv" in /*) ;; *) venv="$PWD/$venv" ;; esac
folder="$venv/hosts"
npm_packages=(@jupyter-widgets/html-manager@1.0.15 requirejs@2.3.8 mystmd@1.8.3)
kernels=(6.31.0 7.3.0 7.4.0)

for package in "${npm_packages[@]}"; do
  name="${package%@*}"
  target="$folder/npm/$name"
  if [ ! -d "$target" ]; then
    # npm checks what it fetched against the registry's digest
    archive="$folder/$(PATH="$(tools/node.sh):$PATH"; mkdir -p "$folder"; cd "$folder"; npm pack --silent "$package")"
    mkdir -p "$target.part"
    tar -xzf "$archive" -C "$target.part" --strip-components=1
    rm "$archive"
    mv "$target.part" "$target"
  fi
done
for version in "${kernels[@]}"; do
  target="$folder/ipykernel-$version"
  if [ ! -d "$target" ]; then
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --target "$target.part" "ipykernel==$version" >&2
    mv "$target.part" "$target"
  fi
done
echo "$folder"
