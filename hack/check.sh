#!/bin/sh
# The one gate: types, lint and format, unused code, shell, Python. `npm run check`.
set -eu
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
command -v shellcheck >/dev/null || {
  echo "shellcheck is missing: apt-get install shellcheck" >&2
  exit 2
}
echo "types"
tsc
echo "lint and format"
biome ci --error-on-warnings --log-level=warn --colors=off
echo "unused code"
knip --no-progress
knip --no-progress --production
echo "shell"
git ls-files '*.sh' .ci/run | xargs shellcheck
echo "python"
node --import tsx hack/check-python.ts
echo "All checks passed."
