import type { V1Node } from '@kubernetes/client-node';
import pino from 'pino';
import type { Cluster } from '../../cluster/cluster.ts';
import { READY_LABEL } from '../../cluster/labels.ts';
import { accessOf, openConfig } from '../../controller/access.ts';
import { pause, waitFor } from '../../hack/run.ts';
import { pooledMap } from '../../lib/base/async.ts';
import { createKube, type WatchEvent } from '../../lib/kube/client.ts';
import { keepWatching } from '../../lib/kube/watch.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import { reportOf, verdictOf } from '../agent/reports.ts';
import { type RequestStats, type SimulatedAgent, simulateAgent } from './simulated-agent.ts';
import { quantile } from './statistics.ts';

/** Requests of all clients in a period. */
type Period = RequestStats & { readonly seconds: number };

const AT_ONCE = 16;
const STEADY_S = 60;
const BROKEN = verdictOf('False', 'ShimNotFound');

/**
 * Runs many agents against the real API server with the admission policies of the base, each with its own Node: all start at
 * once, then nothing happens, then all nodes break and heal at the same time.
 */
export async function measureScale(cluster: Cluster, agents: number): Promise<string[][]> {
  const access = await accessOf(openConfig(cluster.kubeconfig));
  const admin = createKube(access, { agent: 'bench/0', count: () => {} });
  const stats: RequestStats = { codes: new Map<string, number>(), ms: [] };
  const names = Array.from({ length: agents }, (_, n) => `scale-${n}`);
  const stop = new AbortController();
  let clients: readonly SimulatedAgent[] = [];
  const rows: string[][] = [];
  try {
    const log = pino({ level: 'silent' });
    const environment = { admin, access, log, stats };
    clients = await pooledMap(names, AT_ONCE, (node) => simulateAgent(node, environment));
    const running = clients.map(({ publisher }) => publisher.run(stop.signal));
    const publish = (verdict: Verdict) => {
      for (const { tell, node } of clients) tell({ ...reportOf({ verdict }), node });
    };
    const measurePeriod = async (what: string, work: () => Promise<void>) => {
      stats.codes.clear();
      stats.ms.length = 0;
      const begun = performance.now();
      await work();
      const seconds = (performance.now() - begun) / 1000;
      rows.push(...describe(what, { seconds, ...stats }));
    };
    const labels = new Map<string, string | undefined>();
    const onEvent = ({ object }: WatchEvent) => {
      const { name = '', labels: own } = (object as V1Node).metadata ?? {};
      labels.set(name, own?.[READY_LABEL]);
    };
    const path = '/api/v1/nodes?labelSelector=bench%3Dscale';
    const followed = keepWatching({ kube: admin, path, log, onEvent }, stop.signal);
    const all = async (value: 'true' | 'false') => {
      const reached = async () => names.every((name) => labels.get(name) === value);
      await waitFor(`${agents} labels to be "${value}"`, 180_000, reached, 20);
    };
    await measurePeriod(`${agents} agents start at once → all labelled`, async () => {
      publish(verdictOf('True', 'SandboxProven'));
      await all('true');
    });
    await pause(5);
    await measurePeriod(`nothing happens for ${STEADY_S} s`, () => pause(STEADY_S));
    await measurePeriod('all nodes break at once → all labels withdrawn', async () => {
      publish(BROKEN);
      await all('false');
    });
    await measurePeriod('all nodes heal at once → all labels back', async () => {
      publish(verdictOf('True', 'SandboxProven'));
      await all('true');
    });
    stop.abort();
    await Promise.all([...running, followed]);
  } finally {
    stop.abort();
    await Promise.all(clients.map(({ kube }) => kube.close()));
    await cluster.kubectl(['delete', 'nodes', '-l', 'bench=scale', '--wait=false']);
    await admin.close();
  }
  return rows;
}

function describe(what: string, { seconds, codes, ms }: Period): string[][] {
  const requests = [...codes.values()].reduce((sum, n) => sum + n, 0);
  const at = (share: number) => `${quantile(ms, share)?.toFixed(0)} ms`;
  const refused = [...codes].filter(([code]) => !/ 2\d\d$/.test(code)).map(([code, n]) => `${n} × ${code}`);
  return [
    [what, '', `${seconds.toFixed(1)} s`],
    ['  requests', '', String(requests)],
    ['  response after', '', ms.length === 0 ? 'no requests' : `median ${at(0.5)}, p99 ${at(0.99)}`],
    ['  refused', 'none', refused.join(', ') || 'none'],
  ];
}
