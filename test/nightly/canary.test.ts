import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import type { V1PodList } from '@kubernetes/client-node';
import {
  CONTAINERD_CONFIG,
  containerdConfig,
  gvisorConfig,
  gvisorTable,
  RUNSC_CONFIG,
} from '../../cluster/node/config.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { podEvents, waitForNode } from '../e2e/agents.ts';
import { provenAgain } from '../e2e/disturb.ts';
import { useCluster } from '../e2e/e2e-cluster.ts';
import { connect } from '../integration/integration-cluster.ts';

const cluster = useCluster();
const NAMESPACE = 'gvisor-ready';
const LABEL = 'app.kubernetes.io/component=canary';
const NODE = 'node-1';
const BASE_SPEC = '/etc/containerd/base-spec.json';
const CNI_PLUGINS = '/opt/cni/bin';
/** The exit code of a container whose sandbox ended under it. */
const KILLED = 137;

/** Waits until the canary's container runs (true) or has failed (false) on these nodes, and is on no other. */
async function expectCanaries(expected: Readonly<Record<string, boolean>>): Promise<void> {
  await waitFor(`canaries: ${JSON.stringify(expected)}`, 90_000, async () => {
    const path = `/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=${encodeURIComponent(LABEL)}`;
    const { items } = JSON.parse(await cluster().get(path)) as V1PodList;
    const seen = items.map(({ spec, status }) => {
      const [container] = status?.containerStatuses ?? [];
      const { exitCode } = container?.state?.terminated ?? container?.lastState?.terminated ?? {};
      const failed = exitCode !== undefined && exitCode !== 0 && exitCode !== KILLED ? false : undefined;
      return [spec?.nodeName ?? '', container?.ready || failed] as const;
    });
    return isDeepStrictEqual(Object.fromEntries(seen), expected);
  });
}

/** The canary's running sandbox on the node. */
async function sandboxNow(): Promise<string> {
  const client = connect(cluster().node(NODE));
  try {
    return await waitFor(`a sandbox of the canary on ${NODE}`, 90_000, async () => {
      const ready = await client.listSandboxes('SANDBOX_READY');
      return ready.find(({ metadata }) => metadata?.name.startsWith('gvisor-ready-canary-'))?.id;
    });
  } finally {
    client.close();
  }
}

/** Writes a flag of runsc on a node, and lets its canary start in a new sandbox. */
async function restartWith(flag: string): Promise<void> {
  const node = cluster().node(NODE);
  await node.write(RUNSC_CONFIG, `${gvisorConfig(node.spec)}${flag}`);
  const pod = ['-n', NAMESPACE, '-l', LABEL, `--field-selector=spec.nodeName=${NODE}`];
  await cluster().kubectl(['delete', 'pod', ...pod]);
}

describe('the canary', () => {
  before(async () => {
    const manifest = await readFile(join(REPO, 'manifests/components/canary/daemonset.yaml'), 'utf8');
    const image = manifest
      .replace('image: gvisor-ready-canary', `image: ${imageName('agent')}`)
      .replace('value: "true"', 'value: node --version')
      .replace('sleep 615', 'sleep 60');
    await cluster().kubectl(['apply', '-f', '-'], image);
  });

  after(async () => {
    await restartWith('');
    await cluster().kubectl(['delete', 'daemonset', '-n', NAMESPACE, 'gvisor-ready-canary']);
  });

  it('runs on the proven nodes alone', () => expectCanaries({ 'node-1': true, 'node-2': true }));

  it('has another sandbox each time', async () => {
    const first = await sandboxNow();
    await waitFor('another sandbox of the canary', 120_000, async () => (await sandboxNow()) !== first);
  });

  it('gets no sandbox where CNI plugins are gone, which neither label nor Node shows', async () => {
    const node = cluster().node(NODE);
    await restartWith(''); // one that ran for less than ten minutes waits longer each time
    await expectCanaries({ 'node-1': true, 'node-2': true });
    await node.system.run(['mount', '-t', 'tmpfs', 'empty', CNI_PLUGINS]);
    try {
      const pods = ['pods', '-n', NAMESPACE, '-l', LABEL, `--field-selector=spec.nodeName=${NODE}`];
      // The kubelet asks the plugins to remove a sandbox's network too, and without them keeps the old pod's for ever.
      await cluster().kubectl(['delete', ...pods, '--force', '--grace-period=0']);
      const message = await waitFor('a sandbox to fail', 120_000, async () => {
        const [name = ''] = (await cluster().kubectl(['get', ...pods, '-o', 'name']))
          .trim()
          .split('/')
          .slice(-1);
        return (await podEvents(cluster(), NAMESPACE, name, 'FailedCreatePodSandBox')).at(-1);
      });
      assert.match(message, /failed to find plugin "bridge" in path \[\/opt\/cni\/bin\]/);
      await provenAgain(cluster(), NODE);
      assert.equal((await waitForNode(cluster(), NODE, () => true)).ready, 'true');
    } finally {
      await node.system.run(['umount', CNI_PLUGINS]);
      await restartWith('');
    }
    await expectCanaries({ 'node-1': true, 'node-2': true });
  });

  it('fails where sandboxes boot and containers do not start, which the label does not show', async () => {
    await restartWith('  overlay2 = "root:dir=/absent"\n');
    await expectCanaries({ 'node-1': false, 'node-2': true });
    await provenAgain(cluster(), NODE);
    assert.equal((await waitForNode(cluster(), NODE, () => true)).ready, 'true');
    await restartWith('');
    await expectCanaries({ 'node-1': true, 'node-2': true });
  });

  it('fails with a base_runtime_spec that only containers get', async () => {
    const node = cluster().node(NODE);
    const spec = JSON.parse(await node.ctr(['oci', 'spec'])) as { process: { rlimits: object[] } };
    spec.process.rlimits = [{ type: 'RLIMIT_UNKNOWN', hard: 1, soft: 1 }];
    await node.write(BASE_SPEC, JSON.stringify(spec));
    const handler = gvisorTable(node.spec).replace(/(?= {2}\[)/, `  base_runtime_spec = "${BASE_SPEC}"\n`);
    await node.write(CONTAINERD_CONFIG, containerdConfig(node.spec, handler));
    await node.restart('containerd');
    await restartWith('');
    await expectCanaries({ 'node-1': false, 'node-2': true });
    await provenAgain(cluster(), NODE);
    assert.equal((await waitForNode(cluster(), NODE, () => true)).ready, 'true');
    await node.write(CONTAINERD_CONFIG, containerdConfig(node.spec));
    await node.restart('containerd');
    await restartWith('');
    await expectCanaries({ 'node-1': true, 'node-2': true });
  });

  it('fails where its image lacks what the probe needs', async () => {
    const image = `canary=${imageName('workload')}`;
    await cluster().kubectl(['set', 'image', '-n', NAMESPACE, 'daemonset/gvisor-ready-canary', image]);
    await expectCanaries({ 'node-1': false, 'node-2': false });
  });
});
