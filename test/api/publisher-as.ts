import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { NodePublisher } from '../../agent/publish/publisher.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { createKube } from '../../lib/kube/client.ts';
import { announcersOf, logOf } from '../agent/publish/publisher-of.ts';

/** A pod on node-1 to which {@link publisherAs} binds its token. */
export function agentPod(namespace: string, account: string): object {
  const spec = {
    nodeName: 'node-1',
    serviceAccountName: account,
    tolerations: [{ operator: 'Exists' }],
    containers: [{ name: 'agent', image: 'localhost/none' }],
  };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name: `agent-${account}`, namespace }, spec };
}

/** A publisher of node-1 with a token that is bound to the agent's pod. */
export async function publisherAs(
  t: TestContext,
  cluster: Cluster,
  { namespace, account }: { readonly namespace: string; readonly account: string },
) {
  const args = ['create', 'token', '-n', namespace, account, '--bound-object-kind=Pod'];
  const token = (await cluster.kubectl([...args, `--bound-object-name=agent-${account}`])).trim();
  const readCa = () => readFile(join(cluster.dir, 'pki/ca.crt'), 'utf8');
  const access = { server: `https://127.0.0.1:${cluster.port}`, readCa, token: async () => token };
  const kube = createKube(access, { agent: 'gvisor-ready/0', count: () => {} });
  const { log, logged } = logOf();
  const { say, tell } = announcersOf((report) => publisher.publish(report));
  const publisher = new NodePublisher({
    kube,
    node: 'node-1',
    taint: false,
    handlers: ['runsc'],
    fingerprint: '0.1.0+a',
    boot: 'a-boot',
    log,
    now: () => performance.now(),
    date: () => new Date(),
    say,
  });
  const stop = new AbortController();
  const done = publisher.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await done;
    await kube.close();
  });
  return { publisher, tell, logged };
}
