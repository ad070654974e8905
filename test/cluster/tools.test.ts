import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { OTHER_KUBERNETES, TOOL_GROUPS } from '../../cluster/tool-groups.ts';
import { REPO } from '../../hack/paths.ts';
import { runAll } from '../../hack/run.ts';

type Row = { readonly tool: string; readonly version: string; readonly group: string };

/** The Go module of each row. */
const MODULES: Readonly<Record<string, string>> = {
  Kubernetes: 'k8s.io/kubernetes',
  'Kubernetes 1.34': 'k8s.io/kubernetes',
  'Kubernetes 1.35': 'k8s.io/kubernetes',
  'Kubernetes 1.37': 'k8s.io/kubernetes',
  containerd: 'github.com/containerd/containerd/v2',
  'containerd 1.7': 'github.com/containerd/containerd',
  gVisor: 'gvisor.dev/gvisor',
  'gVisor, older generation': 'gvisor.dev/gvisor',
  'gVisor, newest generation': 'gvisor.dev/gvisor',
  etcd: 'go.etcd.io/etcd/server/v3',
  'CNI plugins': 'github.com/containernetworking/plugins',
  'kind, for the tests of its configuration': 'sigs.k8s.io/kind',
  runc: 'github.com/opencontainers/runc',
  Prometheus: 'github.com/prometheus/prometheus',
  'Prometheus operator, with its config reloader': 'github.com/prometheus-operator/prometheus-operator',
  'Alertmanager, without its pages': 'github.com/prometheus/alertmanager',
  'kube-state-metrics': 'k8s.io/kube-state-metrics/v2',
  'kube-router, for the tests of network policies': 'github.com/cloudnativelabs/kube-router/v2',
  "Grafana's and the Prometheus operator's schemas": 'github.com/grafana/grafana-foundation-sdk/go',
  Helm: 'helm.sh/helm/v4',
  'Helm 3': 'helm.sh/helm/v3',
  'helm-unittest': 'github.com/helm-unittest/helm-unittest',
  kubeconform: 'github.com/yannh/kubeconform',
  actionlint: 'github.com/rhysd/actionlint',
  'Karpenter, with its provider for tests': 'sigs.k8s.io/karpenter',
};

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
  for (const { tool, version, group } of versionsTable()) {
    const module = MODULES[tool];
    assert.ok(module, `a tool of the table without a module: ${tool}`);
    const text = readFileSync(join(REPO, 'cluster/tools', group, 'go.mod'), 'utf8');
    const pinned = new RegExp(`^(?:require |\\s+)${module.replaceAll('.', '\\.')} (\\S+)`, 'm').exec(
      text,
    )?.[1];
    const release = /stamped as (release-\S+)\.$/m.exec(text)?.[1];
    const place = `${tool} in cluster/README.md and in cluster/tools/${group}/go.mod`;
    assert.equal(version, release ?? pinned, place);
  }
});

/** A `go` that takes a second for a build and counts them. */
const GO = `#!/bin/sh
case $1 in
version) echo go version go1.26.8 linux/amd64 ;;
build)
  while [ "$1" != -o ]; do shift; done
  echo >>"$(dirname "$0")/builds"
  sleep 1
  echo kubeconform >"$2/kubeconform" ;;
esac
`;

test('two runs build a program once', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'tools-'));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, 'go'), GO, { mode: 0o755 });
  const env = { ...process.env, PATH: `${dir}:${process.env.PATH}`, GVISOR_READY_CACHE: join(dir, 'cache') };
  const script = `import { ensureTools } from './cluster/tools.ts';
    console.log((await ensureTools(['kubeconform'])).kubeconform);`;
  const args = ['--import', 'tsx', '--input-type=module', '-e', script];
  const runs = await Promise.all([0, 1].map(() => runAll(process.execPath, args, { cwd: REPO, env })));
  const errors = runs.map(({ stderr }) => stderr).join('');
  assert.ok(
    runs.every(({ code }) => code === 0),
    errors,
  );
  assert.equal(runs[0]?.stdout, runs[1]?.stdout);
  assert.equal(readFileSync(join(dir, 'builds'), 'utf8'), '\n');
  assert.match(errors, /waiting for another run that builds kubeconform/);
});
