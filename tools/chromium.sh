#!/usr/bin/env bash
# Print the path of a Chromium for the browser tests, installing one if there is none.
#
# In this order: $MW_CHROMIUM; a Chromium or Chrome on PATH; Debian's package (as root, where apt-get is); Playwright's own
# download, for everybody else.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VENV:-.venv}"

on_path() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name"; then return 0; fi
  done
  return 1
}
of_playwright() {
  "$venv/bin/python" - <<'PY'
from pathlib import Path
from playwright.sync_api import sync_playwright

with sync_playwright() as p:
    path = Path(p.chromium.executable_path)
print(path if path.exists() else "")
PY
}

if [ -n "${MW_CHROMIUM:-}" ]; then echo "$MW_CHROMIUM"; exit; fi
if on_path; then exit; fi
found="$(of_playwright)"
if [ -z "$found" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Chromium with apt-get (browser tests)" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      chromium fonts-dejavu-core; } >&2
    if on_path; then exit; fi
  fi
  echo "Installing Playwright's Chromium (browser tests)" >&2
  "$venv/bin/python" -m playwright install chromium >&2
  found="$(of_playwright)"
fi
if [ -z "$found" ]; then
  echo "No Chromium: install one and set MW_CHROMIUM to its path, or deselect the browser tests (make quick)." >&2
  exit 1
fi
echo "$found"
