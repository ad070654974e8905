import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { createKube, type Kube } from '../../lib/kube/client.ts';
import { announcedPublisher, logOf } from '../agent/publish/publisher-of.ts';

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

type Account = { readonly namespace: string; readonly account: string };

/** A client with a token that is bound to a pod. */
export async function kubeAs(cluster: Cluster, { namespace, account }: Account, pod: string): Promise<Kube> {
  const bound = ['--bound-object-kind=Pod', `--bound-object-name=${pod}`];
  const token = (await cluster.kubectl(['create', 'token', '-n', namespace, account, ...bound])).trim();
  const readCa = () => readFile(join(cluster.dir, 'pki/ca.crt'), 'utf8');
  const access = { server: `https://127.0.0.1:${cluster.port}`, readCa, token: async () => token };
  return createKube(access, { agent: 'gvisor-ready/0', count: () => {} });
}

/** A publisher of node-1 with a token that is bound to the agent's pod. */
export async function publisherAs(t: TestContext, cluster: Cluster, as: Account) {
  const kube = await kubeAs(cluster, as, `agent-${as.account}`);
  const { log, logged } = logOf();
  const { publisher, tell } = announcedPublisher(kube, log, { boot: 'a-boot' });
  const stop = new AbortController();
  const done = publisher.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await done;
    await kube.close();
  });
  return { publisher, tell, logged };
}
