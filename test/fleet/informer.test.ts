import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';
import { pino } from 'pino';
import { createKube } from '../../agent/kube/client.ts';
import { agentPodOf } from '../../fleet/agents.ts';
import { Informer } from '../../fleet/informer.ts';
import { waitFor } from '../../hack/run.ts';

describe('Informer', () => {
  it('goes on from the last bookmark, which is a pod whose containers are null', async (t) => {
    const podOf = (name: string, kind: string) => ({
      metadata: { name, namespace: 'a', resourceVersion: '3', ownerReferences: [{ kind, controller: true }] },
      spec: { containers: [] },
    });
    const items = [podOf('agent-1', 'DaemonSet'), podOf('mirror-1', 'Node')];
    const bookmark = { metadata: { resourceVersion: '9' }, spec: { containers: null }, status: {} };
    const watched: (string | null)[] = [];
    const server = createServer(({ url = '' }, response) => {
      const { searchParams } = new URL(url, 'http://api');
      if (searchParams.get('watch') !== 'true') {
        response.end(JSON.stringify({ metadata: { resourceVersion: '5' }, items }));
        return;
      }
      watched.push(searchParams.get('resourceVersion'));
      response.write(`${JSON.stringify({ type: 'BOOKMARK', object: bookmark })}\n`);
      // The first ends in peace, as each does once in a while.
      if (watched.length === 1) response.end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const config = new KubeConfig();
    config.loadFromClusterAndUser({ name: 'api', server: origin, skipTLSVerify: true }, { name: 'fleet' });
    const kube = createKube({ server: origin }, { agent: 'test', count: () => {} });
    const reach = { kube, config, log: pino({ level: 'silent' }) };
    const informer = new Informer({ path: '/api/v1/namespaces/a/pods', keep: agentPodOf }, reach);
    const stop = new AbortController();
    const running = informer.run(stop.signal);
    t.after(async () => {
      stop.abort();
      await running;
      await kube.close();
      server.close();
      server.closeAllConnections();
    });
    await waitFor('a second watch', 10_000, async () => watched.length === 2 || undefined, 20);
    assert.deepEqual(watched, ['5', '9']);
    assert.deepEqual(
      informer.list().map(({ name }) => name),
      ['agent-1'],
    );
  });
});
