import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, before, beforeEach } from 'node:test';
import pino from 'pino';
import type { Cluster } from '../../cluster/cluster.ts';
import { accessOf, openConfig } from '../../controller/access.ts';
import { FleetController } from '../../controller/controller.ts';
import { FleetMetrics } from '../../controller/metrics.ts';
import { waitFor } from '../../hack/run.ts';
import { createKube } from '../../lib/kube/client.ts';
import { readinessOf, readNode } from '../e2e/agents.ts';
import { FleetObjects, KVM_KEY, PROVEN_CONDITIONS, READY_KEY } from './fleet-objects.ts';

/** Timeouts of a test; the settings of a user allow none that are as short. */
const TIMEOUTS = { nodeAgeMs: 0, windowMs: 30_000, recoveryMs: 1_000 };

/** Writes a kubeconfig with a token of the controller's service account only; returns its path. */
export async function controllerKubeconfig(cluster: Cluster): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'fleet-'));
  const args = ['create', 'token', '-n', 'gvisor-ready', 'gvisor-ready-fleet'];
  const token = (await cluster.kubectl(args)).trim();
  const read = ['config', 'view', '--raw', '--flatten', '-o', 'json'];
  const config = JSON.parse(await cluster.kubectl(read)) as { users: { user: object }[] };
  for (const each of config.users) each.user = { token };
  const path = join(directory, 'kubeconfig');
  await writeFile(path, JSON.stringify(config), { mode: 0o600 });
  return path;
}

/** Starts a controller in this process, with a token of its service account. */
async function startController(cluster: Cluster, agentTimeoutMs: number) {
  const kubeconfig = await controllerKubeconfig(cluster);
  const config = openConfig(kubeconfig);
  const metrics = new FleetMetrics();
  const agent = 'gvisor-ready-fleet/test';
  const kube = createKube(await accessOf(config), { agent, count: metrics.countRequest });
  const log = pino({ level: process.env.FLEET_LOG ?? 'silent' });
  const timeouts = { ...TIMEOUTS, agentTimeoutMs };
  const settings = { timeouts, taint: false, reportIntervalMs: 5_000 };
  const fleet = new FleetController({ kube, namespace: 'gvisor-ready', log, settings, metrics });
  const end = new AbortController();
  const ended = fleet.run(end.signal);
  const stop = async () => {
    end.abort();
    await ended;
    await kube.close();
    await rm(join(kubeconfig, '..'), { recursive: true });
  };
  return { fleet, metrics, breaker: () => fleet.view.breaker, stop };
}

export const until = (what: string, timeoutMs: number, holds: () => boolean | Promise<boolean>) =>
  waitFor(what, timeoutMs, async () => (await holds()) || undefined);

/** Prepares three proven nodes with Ready agents for each test of a suite; controllers that a test starts end with it. */
export function useFleet(cluster: () => Cluster) {
  const names = ['node-1', 'node-2', 'node-3'] as const;
  let objects: FleetObjects;
  let runs: Awaited<ReturnType<typeof startController>>[] = [];
  before(async () => {
    objects = await FleetObjects.open(cluster());
    for (const name of names) await objects.addNode(name);
    await objects.observeDaemonSet(names.length);
  });
  beforeEach(async () => {
    for (const name of names) {
      const labels = { [READY_KEY]: 'true', [KVM_KEY]: null };
      await objects.writeStatus(name, { conditions: PROVEN_CONDITIONS }, labels);
      await objects.setAgent(name, true);
    }
  });
  afterEach(async () => {
    await Promise.all(runs.map((run) => run.stop()));
    runs = [];
  });
  const stateOf = async (name: string) => readinessOf(await readNode(cluster(), name));
  return {
    names,
    objects: () => objects,
    stateOf,
    start: async (agentTimeoutMs = 1_000) => {
      const run = await startController(cluster(), agentTimeoutMs);
      runs.push(run);
      await until('the controller to list the fleet', 20_000, () => run.fleet.ready);
      return run;
    },
    withdrawn: (name: string) =>
      until(
        `the label of ${name} to be withdrawn`,
        40_000,
        async () => (await stateOf(name)).ready === 'false',
      ),
    assertStillProven: async (...nodes: readonly string[]) => {
      for (const name of nodes) {
        const { ready, condition } = await stateOf(name);
        assert.deepEqual([name, ready, condition], [name, 'true', 'True SandboxProven']);
      }
    },
  };
}
