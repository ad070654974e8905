import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { TestContext } from 'node:test';
import { bundlePlugin } from '../../hack/plugin.ts';
import { fakeApi } from '../kubectl/fake-api.ts';
import { FLEET_VIEW, fleet } from '../kubectl/fleet.ts';
import { sampleFleet } from '../lib/fleet/sample-fleet.ts';
import { mebibytes, quantile } from './statistics.ts';

const RUNS = 5;
const SIZES = [
  [5_000, '≤ 2 s', '≤ 100 MiB'],
  [15_000, '≤ 6 s', ''],
] as const;

/** Measures the bundled plugin's `status` of large fleets, with a fake API server that has the controller's view. */
export async function measurePlugin(): Promise<string[][]> {
  const plugin = await bundlePlugin();
  const rows: string[][] = [];
  for (const [nodes, seconds, memory] of SIZES) {
    const ends: (() => unknown)[] = [];
    const context = { after: (end: () => unknown) => void ends.push(end) } as TestContext;
    try {
      const { api, kubeconfig } = await fakeApi(context);
      fleet(api);
      api.stubs.set(FLEET_VIEW, { status: 200, body: JSON.stringify(sampleFleet(nodes)), gzip: true });
      const runs: Run[] = [];
      for (let run = 0; run < RUNS; run++) runs.push(await runStatus(plugin, kubeconfig));
      const median = (values: readonly number[]) => quantile(values, 0.5) ?? 0;
      const took = `${(median(runs.map(({ ms }) => ms)) / 1_000).toFixed(2)} s`;
      rows.push([`status of ${nodes} nodes, a fifth of them not proven`, seconds, took]);
      rows.push([
        '  peak of resident memory',
        memory,
        `${mebibytes(median(runs.map(({ peak }) => peak)))} MiB`,
      ]);
    } finally {
      for (const end of ends.reverse()) await end();
    }
  }
  return rows;
}

type Run = { readonly ms: number; readonly peak: number };

async function runStatus(plugin: string, kubeconfig: string): Promise<Run> {
  const begun = performance.now();
  const args = [plugin, 'status', `--kubeconfig=${kubeconfig}`];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = once(child, 'exit');
  let peak = 0;
  const timer = setInterval(async () => {
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
    peak = Math.max(peak, Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024);
  }, 10);
  const [code] = (await ended) as [number | null];
  clearInterval(timer);
  if (code !== 0 && code !== 1) throw new Error(`status ended with ${code}`);
  return { ms: performance.now() - begun, peak };
}
