import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { waitFor } from '../../hack/run.ts';
import { reportOf } from '../agent/reports.ts';
import { DOMAIN, waitForNode } from '../e2e/agents.ts';
import { strategicPatch } from './admission-objects.ts';
import { applyBase, type Names, startApiServer, useStarted } from './api-server.ts';
import { type ApiUser, certificateUser, tokenUser } from './api-user.ts';
import { agentPod, publisherAs } from './publisher-as.ts';
import { waitForPolicies } from './wait-for-policies.ts';

const POLICIES = ['validatingadmissionpolicybinding', 'validatingadmissionpolicy'] as const;

/** The base, and renamed by users' kustomizations. */
const NAMES: readonly Names[] = [
  {},
  { namespace: 'x' },
  { namePrefix: 'p-' },
  { namespace: 'x', namePrefix: 'p-', nameSuffix: '-s' },
];

describe('agents with other names of namespace and service account', () => {
  let cluster: Cluster;
  let admin: ApiUser;
  const started = useStarted('api', startApiServer);
  before(async () => {
    cluster = started();
    admin = await certificateUser(cluster, 'admin', ['system:masters']);
    for (const name of ['node-1', 'node-2']) {
      const node = { apiVersion: 'v1', kind: 'Node', metadata: { name } };
      await cluster.kubectl(['create', '-f', '-'], JSON.stringify(node));
    }
  });

  for (const names of NAMES) {
    const { namespace = 'gvisor-ready', namePrefix = '', nameSuffix = '' } = names;
    const account = `${namePrefix}gvisor-ready-agent${nameSuffix}`;
    describe(`with ${JSON.stringify(names)}`, () => {
      before(async () => {
        await applyBase(cluster, [], names);
        await cluster.kubectl(['create', '-f', '-'], JSON.stringify(agentPod(namespace, account)));
      });
      after(() => removePolicies(cluster, admin));

      it('can write only their own keys, and only to their own Node', async () => {
        const agent = await tokenUser(cluster, namespace, account, `agent-${account}`);
        for (const [node, body, why] of [
          ['node-2', { metadata: { labels: { [`${DOMAIN}/ready`]: 'true' } } }, /own Node|needs the verb/],
          ['node-2', { metadata: { labels: { a: 'b' } } }, /only its own Node/],
          ['node-2', { status: { daemonEndpoints: { kubeletEndpoint: { Port: 1 } } } }, /only its own Node/],
          ['node-1', { metadata: { labels: { a: 'b' } } }, /only labels of/],
        ] as const) {
          const response = await agent(writing(node, body));
          assert.ok(response.code >= 400, `${node} ${response.code}`);
          assert.match(response.message, why);
        }
        const own = await agent(
          writing('node-1', { metadata: { labels: { [`${DOMAIN}/ready`]: 'false' } } }),
        );
        assert.equal(own.code, 200, own.message);
        const event = {
          metadata: { generateName: 'a.' },
          involvedObject: { kind: 'Node', name: 'node-2' },
          source: { component: 'gvisor-ready', host: 'node-1' },
        };
        const response = await agent({
          method: 'POST',
          path: '/api/v1/namespaces/default/events',
          body: event,
        });
        assert.match(response.message, /only on its own Node/);
      });

      it('label a proven node', async (t) => {
        const { publisher, tell } = await publisherAs(t, cluster, { namespace, account });
        tell(reportOf());
        await waitForNode(cluster, 'node-1', ({ ready }) => ready === 'true');
        await until(() => publisher.unready === undefined);
      });
    });
  }

  describe('without the policies', () => {
    const account = { namespace: 'gvisor-ready', account: 'gvisor-ready-agent' };
    before(async () => {
      await applyBase(cluster, []);
      await removePolicies(cluster, admin);
    });

    it('do not grant the label, with a reason, until the policies exist', async (t) => {
      await admin(writing('node-1', { metadata: { labels: { [`${DOMAIN}/ready`]: null } } }));
      const { publisher, tell, logged } = await publisherAs(t, cluster, account);
      tell(reportOf());
      assert.match(`${(await logged('not ready: the rollout waits')).unready}`, /^WritesUnguarded: /);
      const readiness = await waitForNode(cluster, 'node-1', ({ condition }) => condition !== '');
      assert.deepEqual([readiness.ready, readiness.condition], ['false', 'Unknown WritesUnguarded']);
      assert.match(publisher.unready ?? '', /no admission policy keeps this agent from writing other nodes/);
      await applyBase(cluster, []);
      await waitForNode(cluster, 'node-1', ({ ready }) => ready === 'true');
      await until(() => publisher.unready === undefined);
      await removePolicies(cluster, admin);
    });

    it('keep an existing label, and are not Ready', async (t) => {
      const { tell, logged } = await publisherAs(t, cluster, account);
      tell(reportOf());
      await logged('not ready: the rollout waits');
      const { ready, condition } = await waitForNode(cluster, 'node-1', () => true);
      assert.deepEqual([ready, condition], ['true', 'True SandboxProven']);
    });
  });
});

/** A write of a Node's status, which carries labels as well. */
const writing = (node: string, body: object) => strategicPatch(`/api/v1/nodes/${node}/status`, body);

async function removePolicies(cluster: Cluster, admin: ApiUser): Promise<void> {
  for (const kind of POLICIES) await cluster.kubectl(['delete', kind, '--all']);
  await waitForPolicies({ as: (_, call) => admin(call) });
}

const until = (holds: () => boolean) => waitFor('the publisher', 30_000, async () => holds() || undefined);
