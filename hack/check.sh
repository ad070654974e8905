#!/bin/sh
# The one gate: types, lint and format, unused code, shell, Python, alerts. `npm run check`.
set -eu
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
node hack/require-node.js
echo "types"
tsc
echo "lint and format"
biome ci --error-on-warnings --log-level=warn --colors=off
echo "unused code"
knip --no-progress
knip --no-progress --production
echo "shell and python"
node --import ./hack/require-node.js hack/check-scripts.ts
# The last, because it needs Go.
echo "alerts"
node --import ./hack/require-node.js cluster/check-rules.ts
echo "All checks passed."
