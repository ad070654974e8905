import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { OTHER_KUBERNETES, TOOL_GROUPS } from '../../../cluster/tools/tool-groups.ts';
import { REPO } from '../../../hack/paths.ts';
import { runAll } from '../../../hack/run.ts';

type Row = { readonly tool: string; readonly version: string; readonly group: string };

/** The module of a group whose program is in its own directory. */
const MODULES: Readonly<Record<string, string>> = {
  etcd: 'go.etcd.io/etcd/server/v3',
  'nvidia-toolkit': 'github.com/NVIDIA/nvidia-container-toolkit',
  'otel-collector': 'go.opentelemetry.io/collector/otelcol',
  schemas: 'github.com/grafana/grafana-foundation-sdk/go',
};

/** gVisor's release, or the version of the module that the group's first program is in. */
function pinned(group: string): string | undefined {
  const text = readFileSync(join(REPO, 'cluster/tools', group, 'go.mod'), 'utf8');
  const program = MODULES[group] ?? /^tool (?:\(\s*)?(\S+)/m.exec(text)?.[1];
  const required = [...text.matchAll(/^(?:require |\t)(\S+) (v\S+)/gm)];
  const module = required.find(([, path]) => `${program}/`.startsWith(`${path}/`));
  return /stamped as (release-\S+)\.$/m.exec(text)?.[1] ?? module?.[2];
}

function versionsTable(): Row[] {
  const [, section = ''] = readFileSync(join(REPO, 'cluster/README.md'), 'utf8').split('\n## Versions\n');
  return (section.split('\n## ')[0] ?? '')
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| Tool') && !line.startsWith('|-'))
    .map((line) => line.split('|').map((cell) => cell.trim().replaceAll('`', '')))
    .map(([, tool = '', version = '', group = '']) => ({ tool, version, group }));
}

test('has a row in the table of versions for each group of programs', () => {
  const documented = versionsTable().map(({ group }) => group);
  const groups = [...TOOL_GROUPS, ...OTHER_KUBERNETES.map((version) => `kubernetes-${version}`)];
  assert.deepEqual(documented.sort(), groups.sort());
});

test('documents the versions in go.mod', () => {
  for (const { tool, version, group } of versionsTable())
    assert.equal(version, pinned(group), `${tool} in cluster/README.md and in cluster/tools/${group}/go.mod`);
});

/** A `go` that takes a second for the build of a program and counts them. */
const GO = `#!/bin/sh
case $1 in
version) echo go version go1.26.8 linux/amd64 ;;
build)
  case "$*" in *net/http) exit ;; esac # Go's library, which both runs compile first
  while [ "$1" != -o ]; do shift; done
  echo >>"$(dirname "$0")/builds"
  sleep 1
  echo bridge >"$2/bridge" ;;
esac
`;

test('two runs build a program once, where the official build cannot be reached', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'tools-'));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, 'go'), GO, { mode: 0o755 });
  const cache = { GVISOR_READY_CACHE: join(dir, 'cache') };
  const env = {
    ...process.env,
    PATH: `${dir}:${process.env.PATH}`,
    ...cache,
    https_proxy: 'http://127.0.0.1:1',
    PREPARED_TOOLS: undefined,
  };
  const script = `import { ensureTools } from './cluster/tools/tools.ts';
    console.log((await ensureTools(['cni'])).cni);`;
  const args = ['--input-type=module', '-e', script];
  const runs = await Promise.all([0, 1].map(() => runAll(process.execPath, args, { cwd: REPO, env })));
  const errors = runs.map(({ stderr }) => stderr).join('');
  assert.ok(
    runs.every(({ code }) => code === 0),
    errors,
  );
  assert.equal(runs[0]?.stdout, runs[1]?.stdout);
  assert.equal(readFileSync(join(dir, 'builds'), 'utf8'), '\n');
  assert.match(errors, /waiting for another run that builds cni/);
  assert.match(errors, /^cni is built from source: github\.com does not respond \(.*ECONNREFUSED.*\)$/m);
});
