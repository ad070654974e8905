import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RUNSC_CONFIG, runscToml } from '../../cluster/node/config.ts';
import { waitFor } from '../../hack/run.ts';
import { agentOn, DOMAIN, readinessOf, readNode } from './agents.ts';
import { useCluster } from './e2e-cluster.ts';

const NODE = 'node-1';
const FILE = '/proc/driver/nvidia/version';

/** There is no GPU: the driver's file lies in a tmpfs, and a flag gives runsc the driver's version. */
const cluster = useCluster(
  async (cluster) => {
    await cluster.node(NODE).system.run(['mount', '-t', 'tmpfs', 'tmpfs', '/proc/driver']);
    await cluster.node(NODE).system.run(['mkdir', '/proc/driver/nvidia']);
    // An agent sees the mounts that were there when it started.
    const { name } = await agentOn(cluster, NODE);
    await cluster.kubectl(['delete', 'pod', '-n', 'gvisor-ready', name]);
  },
  async (cluster) => {
    await configure(undefined);
    await cluster.node(NODE).system.run(['umount', '/proc/driver']);
  },
);

async function configure(driver: string | undefined): Promise<void> {
  const { spec } = cluster().node(NODE);
  const flags = `  nvproxy = "true"\n  nvproxy-driver-version = "${driver}"\n`;
  await cluster()
    .node(NODE)
    .write(RUNSC_CONFIG, `${runscToml(spec)}${driver === undefined ? '' : flags}`);
}

async function expectNode(expected: readonly [condition: string, ready: string, gpu: string]): Promise<void> {
  let last: readonly string[] = [];
  await waitFor(`${NODE} to say ${expected.join(', ')}`, 90_000, async () => {
    const node = await readNode(cluster(), NODE);
    const { condition, ready } = readinessOf(node);
    last = [condition, ready, node.metadata.labels[`${DOMAIN}/gpu`] ?? ''];
    return last.join() === expected.join() ? true : undefined;
  }).catch((cause: unknown) => {
    throw new Error(`The last state: ${last.join(', ')}`, { cause });
  });
}

describe('the label gpu', () => {
  for (const [driver, ...expected] of [
    ['580.126.09', 'True SandboxProven', 'true', 'true'],
    ['570.211.01', 'False GpuDriverUnsupported', 'false', 'false'],
  ] as const)
    it(`of ${driver} is ${expected[2]}, and gVisor itself agrees`, async () => {
      const line = `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  ${driver}  Release Build\n`;
      await cluster().node(NODE).write(FILE, line);
      await configure(driver);
      await expectNode(expected);
    });

  it('is absent where gVisor passes no GPU on', async () => {
    await configure(undefined);
    await expectNode(['True SandboxProven', 'true', '']);
    assert.equal((await readNode(cluster(), 'node-2')).metadata.labels[`${DOMAIN}/gpu`], undefined);
  });
});
