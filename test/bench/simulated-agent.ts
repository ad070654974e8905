import type { Logger } from 'pino';
import type { NodePublisher } from '../../agent/publish/publisher.ts';
import type { KubeAccess } from '../../lib/kube/client.ts';
import { createKube, type Kube } from '../../lib/kube/client.ts';
import type { Report } from '../../lib/report/report.ts';
import { announcedPublisher } from '../agent/publish/publisher-of.ts';

/** The real publisher of a Node, with a token bound to a pod on that Node. */
export type SimulatedAgent = {
  readonly node: string;
  readonly publisher: NodePublisher;
  /** Announces an evaluation with this report. */
  readonly tell: (report: Report) => void;
  readonly kube: Kube;
};

/** Requests of simulated agents: counts by verb and code ("PATCH 200"), and response times in milliseconds. */
export type RequestStats = { readonly codes: Map<string, number>; readonly ms: number[] };

/** A cluster-admin client, the access to its API server, and where agents log and count. */
type Environment = {
  readonly admin: Kube;
  readonly access: KubeAccess;
  readonly log: Logger;
  readonly stats: RequestStats;
};

/** Creates a Node with the label bench=scale and an agent that counts its requests. */
export async function simulateAgent(
  node: string,
  { admin, access, log, stats }: Environment,
): Promise<SimulatedAgent> {
  const token = await register(admin, node);
  const { cert: _cert, key: _key, ...tls } = access.tls ?? {};
  const own = { ...access, tls, token: () => Promise.resolve(token) };
  const count = (verb: string, code: number | string) =>
    stats.codes.set(`${verb} ${code}`, (stats.codes.get(`${verb} ${code}`) ?? 0) + 1);
  const kube = timed(createKube(own, { agent: 'gvisor-ready/scale', count }), stats.ms);
  const { publisher, tell } = announcedPublisher(kube, log, { node, fingerprint: 'bench', boot: 'bench' });
  return { node, publisher, tell, kube };
}

/** Creates a Node and a pod of the agent's service account on it; returns a token bound to that pod. */
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

/** Wraps a client to record response times in milliseconds. */
function timed(kube: Kube, ms: number[]): Kube {
  const record = async <T>(pending: Promise<T>): Promise<T> => {
    const begun = performance.now();
    try {
      return await pending;
    } finally {
      ms.push(performance.now() - begun);
    }
  };
  return {
    ...kube,
    get: (...args) => record(kube.get(...args)),
    patch: (...args) => record(kube.patch(...args)),
  };
}
