import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { patient } from '../../hack/run.ts';
import { DOMAIN } from '../e2e/agents.ts';
import { hookOf, kustomizeComponents, renderChart } from '../manifests/chart-objects.ts';
import { startApiServer, USERS_APPLY, useStarted } from './api-server.ts';
import { type ApiUser, certificateUser, tokenUser } from './api-user.ts';
import { waitForPolicies } from './wait-for-policies.ts';

/** A namespace, the agents' service account there, and what to apply. */
type Installation = {
  readonly namespace: string;
  readonly account: string;
  readonly render: () => Promise<string>;
};

const INSTALLATIONS: Readonly<Record<string, Installation>> = {
  'kustomize with the transformer': {
    namespace: 'sandboxes',
    account: 'gvisor-ready-agent',
    render: () => kustomizeComponents(['enforce'], 'sandboxes'),
  },
  'the chart with a service account of its own': {
    namespace: 'elsewhere',
    account: 'shared',
    render: async () => {
      const values = { enforce: { enabled: true }, agent: { serviceAccount: { name: 'shared' } } };
      const names = { release: 'platform', namespace: 'elsewhere' };
      const rendered = await renderChart(values, undefined, names);
      const items = rendered.filter((object) => hookOf(object) === '');
      return JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
    },
  },
};

for (const [title, installation] of Object.entries(INSTALLATIONS))
  describe(`in another namespace, ${title}`, () => {
    const { namespace, account, render } = installation;
    const cluster = useStarted('api', startApiServer);
    let admin: ApiUser;
    let agent: ApiUser;
    let again: string;
    const create = (object: object) => cluster().kubectl(['create', '-f', '-'], JSON.stringify(object));
    before(
      async () => {
        for (const name of ['node-1', 'node-2'])
          await create({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
        if (namespace === 'elsewhere') await cluster().kubectl(['create', 'namespace', namespace]);
        const objects = await render();
        await cluster().kubectl([...USERS_APPLY, '-f', '-'], objects);
        again = await cluster().kubectl([...USERS_APPLY, '-f', '-'], objects);
        admin = await certificateUser(cluster(), 'admin', ['system:masters']);
        await waitForPolicies({ as: (_, call) => admin(call) });
        await create(podOf(namespace, { nodeName: 'node-1', serviceAccountName: account }));
        agent = await tokenUser(cluster(), namespace, account, 'a-pod');
      },
      { timeout: patient(150_000) },
    );

    it('says `unchanged` when it is applied again', () => {
      const changed = again.trim().split('\n');
      assert.deepEqual(
        changed.filter((line) => !line.endsWith(' unchanged')),
        [],
      );
    });

    it('lets an agent write its own Node and no other', async () => {
      const ready = { metadata: { labels: { [`${DOMAIN}/ready`]: 'true' } } };
      const write = (node: string, body: object) =>
        agent({ method: 'PATCH', path: `/api/v1/nodes/${node}/status`, body });
      assert.equal((await write('node-1', ready)).code, 200);
      for (const [node, body, why] of [
        ['node-2', ready, /only its own Node|needs the verb/],
        ['node-2', { metadata: { labels: { a: 'b' } } }, /only its own Node/],
        ['node-1', { metadata: { labels: { a: 'b' } } }, /only labels of/],
      ] as const)
        assert.match((await write(node, body)).message, why);
    });

    it('requires gVisor in a namespace called gvisor-ready, and never in its own', async () => {
      const label = { metadata: { labels: { 'gvisor-ready.dev/require': 'true' } } };
      const own = await admin({ method: 'PATCH', path: `/api/v1/namespaces/${namespace}`, body: label });
      assert.match(own.message, /is the system's own and cannot require gVisor/);
      const metadata = { name: 'gvisor-ready', labels: label.metadata.labels };
      await create({ apiVersion: 'v1', kind: 'Namespace', metadata });
      await create({
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name: 'default', namespace: 'gvisor-ready' },
      });
      await assert.rejects(create(podOf('gvisor-ready', {})), /requires gVisor/);
    });
  });

function podOf(namespace: string, fields: object): object {
  const containers = [{ name: 'a', image: 'localhost/none' }];
  const spec = { ...fields, tolerations: [{ operator: 'Exists' }], containers };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a-pod', namespace }, spec };
}
