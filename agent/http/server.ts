import type { ServerResponse } from 'node:http';
import type { Server } from 'node:net';
import { memoize } from '../../lib/base/async.ts';
import { createBoundedServer, isLocal, readPath, send, sendProbe } from '../../lib/kube/bounded-server.ts';
import { podCounts } from '../../lib/pods/pod.ts';
import type { Status } from '../../lib/report/report.ts';
import type { SandboxesReport } from '../../lib/sandboxes/problem.ts';
import { renderReport } from '../text/terminal.ts';

export type ServerSources = {
  readonly metrics: () => Promise<{ readonly body: string; readonly type: string }>;
  readonly report: () => Status | undefined;
  readonly live: () => boolean;
  /** Undefined when a rollout may go on to the next node. */
  readonly unready: () => string | undefined;
};

/** The request rate must not drive CPU. */
const CACHE_MS = 250;
/** Per client address; a scraper needs one or two, a browser six. */
const MAX_CONNECTIONS = 16;
const WIDTH = 100;
const KNOWN_PATHS = 'known paths: / /report /metrics /livez /readyz\n';
const HIDDEN_PODS =
  "\nPods are listed only over kubectl port-forward to the agent's pod, port 9477, and by kubectl gvisor-ready pods.\n";

/** Not yet listening. Pods are named only in responses to {@link isLocal} requests. */
export function createAgentServer({ metrics, report, live, unready }: ServerSources): Server {
  const cachedMetrics = memoize(metrics, CACHE_MS);
  const withoutPods = () => {
    const status = report();
    return (
      status && {
        ...status,
        pods: undefined,
        podCounts: podCounts(status.pods),
        sandboxes: status.sandboxes && withoutNames(status.sandboxes),
      }
    );
  };
  const local = cacheReport(report, '');
  const remote = cacheReport(withoutPods, HIDDEN_PODS);
  const route = async (path: string, { text, json }: typeof local, response: ServerResponse) => {
    switch (path) {
      case '/':
        return sendReport(response, text(), 'text/plain; charset=utf-8');
      case '/report':
        return sendReport(response, json(), 'application/json; charset=utf-8');
      case '/metrics': {
        const { body, type } = await cachedMetrics();
        return send(response, 200, body, type);
      }
      case '/livez':
        return sendProbe(response, live() ? undefined : 'the loop has stalled');
      case '/readyz':
        return sendProbe(response, unready());
      default:
        return send(response, 404, KNOWN_PATHS);
    }
  };
  return createBoundedServer({
    maxConnections: MAX_CONNECTIONS,
    respond: async (request, response) => {
      response.setHeader('cache-control', 'no-store');
      const path = readPath(request, response);
      if (path !== undefined) await route(path, isLocal(request) ? local : remote, response);
    },
  });
}

function withoutNames(sandboxes: SandboxesReport): SandboxesReport {
  const problems = sandboxes.problems.map(({ namespace: _, name: __, uid: ___, ...problem }) => problem);
  return { ...sandboxes, problems };
}

/** Bytes that all responses share. */
function cacheReport(report: () => Status | undefined, note: string) {
  const cache = (render: (status: Status) => string) =>
    memoize(() => {
      const status = report();
      return status && Buffer.from(render(status));
    }, CACHE_MS);
  return {
    text: cache((status) => `${renderReport(status, { colored: false, width: WIDTH }).trimStart()}${note}`),
    json: cache((status) => `${JSON.stringify(status, null, 2)}\n`),
  };
}

function sendReport(response: ServerResponse, body: Buffer | undefined, type: string): void {
  if (body === undefined) send(response, 503, 'the first evaluation has not ended yet\n');
  else send(response, 200, body, type);
}
