import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { waitFor } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';
import {
  agentOn,
  DOMAIN,
  getFromAgent,
  onDaemonSet,
  readinessOf,
  readNode,
  waitForNode,
  waitForRollout,
} from '../e2e/agents.ts';
import { GVISOR_NODES, useCluster } from '../e2e/e2e-cluster.ts';

const cluster = useCluster();
const proven = (node: string) =>
  waitForNode(cluster(), node, ({ condition }) => condition === 'True SandboxProven');

describe('a rollout with a setting that would withdraw proven nodes', () => {
  after(async () => {
    await onDaemonSet(cluster(), ['set', 'env'], ['HANDLERS-']);
    await onDaemonSet(cluster(), ['rollout', 'status'], ['--timeout=270s']);
    for (const node of GVISOR_NODES) await proven(node);
  });

  it('stops at one node with a reason, even after a restart, until the annotation is removed', async () => {
    const first = new Map<string, ReturnType<typeof readinessOf>>();
    for (const node of GVISOR_NODES) first.set(node, await proven(node));
    await waitForRollout(cluster()); // a rollout replaces old pods that are not Ready regardless of maxUnavailable
    await onDaemonSet(cluster(), ['set', 'env'], ['HANDLERS=nonsense']);
    const stalled = await waitFor('one node to be withdrawn', 60_000, async () => {
      for (const node of GVISOR_NODES)
        if (readinessOf(await readNode(cluster(), node)).ready === 'false') return node;
      return undefined;
    });
    const other = GVISOR_NODES.find((node) => node !== stalled) ?? '';
    const provenBy = first.get(stalled)?.provenBy ?? '';
    const refusal = async () => {
      const { code, text } = await getFromAgent(cluster(), stalled, '/readyz');
      return code === 503 && text.startsWith('the node was proven by') ? text : undefined;
    };
    const why = await waitFor('the refusal', 20_000, refusal);
    assert.ok(why.includes(`proven by ${provenBy}; this ${VERSION}+`), why);
    assert.ok(why.includes('says HandlerNotConfigured:'), why);
    assert.ok(why.includes(`kubectl annotate node ${stalled} ${DOMAIN}/proven-by-`), why);
    const { name } = await agentOn(cluster(), stalled);
    await cluster().kubectl(['delete', 'pod', '-n', 'gvisor-ready', name]);
    await waitFor('the next agent to refuse as well', 60_000, async () =>
      (await agentOn(cluster(), stalled)).name === name ? undefined : refusal(),
    );
    assert.deepEqual(await proven(other), first.get(other), 'the other node is unchanged');
    await cluster().kubectl(['annotate', 'node', stalled, `${DOMAIN}/proven-by-`]);
    await waitForNode(cluster(), other, ({ ready }) => ready === 'false');
  });
});
