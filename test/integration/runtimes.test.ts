import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { outsideEnv } from '../../cluster/node/outside-agent.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, runAll } from '../../hack/run.ts';
import { formatTable } from '../../hack/table.ts';
import type { Report } from '../../lib/report/report.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { installVariants, variantHandler } from './install-variants.ts';
import { NODES as CHOSEN } from './integration-cluster.ts';
import { VARIANTS, type Variant } from './runtime-variants.ts';

/** With gVisors of their own beside the node's. */
const NODES = CHOSEN.map(({ name, containerd }) => ({ name, containerd })).slice(0, 2);

/** Reasons of the check `isolation`. */
const ISOLATION: readonly string[] = ['IsolationWeakened', 'AnnotationsPassFlags'];

let cluster: Cluster;
const rows: string[][] = [];

const prepare = (started: Cluster) => {
  cluster = started;
  return Promise.all(cluster.nodes().map(installVariants));
};
useOwnCluster('runtimes', NODES, prepare, []);
after(() => {
  const head = ['variant', 'containerd', 'verdict', 'warnings', 'process', 'PIDs', 'boot'];
  rows.sort((a, b) => indexOf(a[0]) - indexOf(b[0]));
  console.log(`\n${formatTable([head, ...rows])}\n`);
});

describe('the verdict on a handler', { concurrency: true }, () => {
  for (const { name, containerd } of NODES) {
    // Sequential, because an agent removes the orphaned sandboxes of others.
    describe(`on ${name}`, { concurrency: 1 }, () => {
      for (const variant of VARIANTS.filter(({ once }) => !once || containerd === '2'))
        it(`${variant.name}: ${variant.verdict.join(' ')}`, { timeout: patient(120_000) }, () =>
          judge(name, variant),
        );
    });
  }
});

describe('the flags of each gVisor', () => {
  for (const [release, group] of [
    ['release-20250203.0', 'gvisor-2025'],
    ['release-20260223.0', 'gvisor'],
    ['release-20260831.0', 'gvisor-2026-09'],
  ] as const)
    it(`of ${release} match test/fixtures/runsc-flags.json`, async () => {
      const runsc = join((await ensureTools([group]))[group], 'runsc');
      const { stdout, stderr } = await runAll(runsc, ['flags'], { timeoutMs: 20_000 });
      const flags = `${stdout}${stderr}`.matchAll(/^ {2}-([\w-]+)/gm);
      const names = [...new Set([...flags].map(([, name = '']) => name))].sort();
      const fixture = await readFile(join(REPO, 'test/fixtures/runsc-flags.json'), 'utf8');
      const known = JSON.parse(fixture) as Readonly<Record<string, readonly string[]>>;
      assert.deepEqual(
        names.filter((name) => !['h', 'help', 'version'].includes(name)),
        known[release]?.toSorted(),
      );
    });
});

async function judge(name: string, variant: Variant): Promise<void> {
  const node = cluster.node(name);
  const evaluate = () => evaluateOnce(node, { HANDLERS: variantHandler(variant), ...variant.env });
  let report = await evaluate();
  // The kubelet stops unknown sandboxes, and a busy containerd answers too late: neither says anything about the handler.
  const saysNothing = ({ evaluation: { verdict } }: Report) =>
    ['ProbeInterrupted', 'CheckTimedOut'].some(
      (each) => verdict.reason === each && !variant.verdict.includes(each),
    );
  for (let more = 4; more > 0 && saysNothing(report); more--) report = await evaluate();
  const { verdict } = report.evaluation;
  addRow(node, variant, report);
  const [status, ...reasons] = variant.verdict;
  assert.ok(verdict.status === status && reasons.includes(verdict.reason), JSON.stringify(verdict));
  if (variant.warning !== undefined)
    assert.ok(warnings(report).includes(variant.warning), warnings(report).join());
  // The check isolation must not warn of flags that this gVisor always sets.
  const isUndue = (reason: string) => ISOLATION.includes(reason) && reason !== variant.warning;
  assert.deepEqual(warnings(report).filter(isUndue), []);
}

/** The report of an agent that runs from source, outside of the node. */
async function evaluateOnce(node: ClusterNode, env: Readonly<Record<string, string>>): Promise<Report> {
  const args = ['agent/main.ts', '--once', '--json'];
  const options = { cwd: REPO, timeoutMs: 110_000, env: { ...outsideEnv(node), ...env } };
  const { stdout, stderr } = await runAll(process.execPath, args, options);
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout) as Report;
}

function warnings({ findings }: Report): readonly string[] {
  return findings.flatMap((finding) =>
    finding.status === 'fail' && finding.severity === 'warning' ? [finding.reason] : [],
  );
}

function addRow(node: ClusterNode, { name }: Variant, report: Report): void {
  const { evaluation, proof } = report;
  const proven = proof.kind === 'proven' ? proof : undefined;
  rows.push([
    name,
    node.spec.containerd,
    `${evaluation.verdict.status} ${evaluation.verdict.reason}`,
    warnings(report).join(', '),
    proven?.witness.argv[0] ?? '',
    proven?.witness.runtimePids.join(' ') ?? '',
    proven === undefined ? '' : `${(proven.bootMs / 1_000).toFixed(2)} s`,
  ]);
}

function indexOf(name: string | undefined): number {
  return VARIANTS.findIndex((variant) => variant.name === name);
}
