import type { Logger } from 'pino';
import type { KubeAccess } from '../agent/kube/client.ts';
import { createKube, type Kube } from '../agent/kube/client.ts';
import { NodePublisher } from '../agent/node/publisher.ts';

/** The real publisher of a Node, with a token bound to a pod on that Node. */
export type SimulatedAgent = {
  readonly node: string;
  readonly publisher: NodePublisher;
  readonly kube: Kube;
};

/** What simulated agents asked: how often by verb and code ("PATCH 200"), and the milliseconds that each answer took. */
export type RequestStats = { readonly codes: Map<string, number>; readonly ms: number[] };

/** Where an agent is simulated: a client with all rights in a cluster, how it gets there, and where it logs and counts. */
type Place = {
  readonly admin: Kube;
  readonly access: KubeAccess;
  readonly log: Logger;
  readonly tally: RequestStats;
};

/** Makes a Node with the label bench=scale, and an agent of it that counts what it asks. */
export async function simulateAgent(
  node: string,
  { admin, access, log, tally }: Place,
): Promise<SimulatedAgent> {
  const token = await register(admin, node);
  const { cert: _cert, key: _key, ...tls } = access.tls ?? {};
  const own = { ...access, tls, token: () => Promise.resolve(token) };
  const count = (verb: string, code: number) =>
    tally.codes.set(`${verb} ${code}`, (tally.codes.get(`${verb} ${code}`) ?? 0) + 1);
  const kube = timed(createKube(own, { agent: 'gvisor-ready/scale', count }), tally.ms);
  const options = {
    kube,
    node,
    log,
    taint: false,
    fingerprint: 'bench',
    boot: 'bench',
  };
  const publisher = new NodePublisher({
    ...options,
    now: () => performance.now(),
    date: () => new Date(),
  });
  return { node, publisher, kube };
}

/** Makes a Node and a pod of the agent's account on it, and gives a token that is bound to that pod. */
async function register(admin: Kube, node: string): Promise<string> {
  await admin.post('/api/v1/nodes', {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: node, labels: { bench: 'scale' } },
  });
  const pod = (await admin.post('/api/v1/namespaces/gvisor-ready/pods', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: node },
    spec: {
      nodeName: node,
      serviceAccountName: 'gvisor-ready-agent',
      tolerations: [{ operator: 'Exists' }],
      containers: [{ name: 'none', image: 'none' }],
    },
  })) as { metadata: { uid: string } };
  const request = {
    spec: {
      expirationSeconds: 3_600,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: node, uid: pod.metadata.uid },
    },
  };
  const path = '/api/v1/namespaces/gvisor-ready/serviceaccounts/gvisor-ready-agent/token';
  return ((await admin.post(path, request)) as { status: { token: string } }).status.token;
}

/** A client that notes how long each answer took, in milliseconds. */
function timed(kube: Kube, ms: number[]): Kube {
  const note = async <T>(asking: Promise<T>): Promise<T> => {
    const begun = performance.now();
    try {
      return await asking;
    } finally {
      ms.push(performance.now() - begun);
    }
  };
  return {
    ...kube,
    get: (...words) => note(kube.get(...words)),
    patch: (...words) => note(kube.patch(...words)),
  };
}
