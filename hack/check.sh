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
knip --no-progress --no-config-hints
knip --no-progress --production
echo "shell and python"
node --import ./hack/require-node.js hack/check-scripts.ts
# The last, because it needs Go.
echo "alerts"
node --import ./hack/require-node.js cluster/tools/check-rules.ts
echo "All checks passed."
# It informs, and never fails.
base=$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main 2>/dev/null || true)
[ -z "$base" ] || git diff --numstat "$base" -- '*.ts' '*.js' '*.py' '*.css' | awk '
  { kind = $3 ~ /^test/ ? "test" : "product"; more[kind] += $1; less[kind] += $2 }
  END {
    printf "lines against main: product +%d -%d, test +%d -%d", more["product"], less["product"], more["test"], less["test"]
    if (more["product"] > 0) printf " (%.1f test lines added for each of the product)", more["test"] / more["product"]
    print ""
  }'
