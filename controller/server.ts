import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:net';
import { gzipSync } from 'node:zlib';
import { memoize } from '../lib/base/async.ts';
import { errorLine } from '../lib/base/sanitize.ts';
import type { FleetView } from '../lib/fleet/view.ts';
import { createBoundedServer, isLocal, readPath, send, sendProbe } from '../lib/kube/bounded-server.ts';
import { ASSETS, HTML, PAGE_POLICY, renderNodePage } from './page/page.ts';

export type FleetSources = {
  readonly view: () => FleetView;
  readonly metrics: () => Promise<{ readonly body: string; readonly type: string }>;
  readonly live: () => boolean;
  readonly ready: () => boolean;
  /** The text of its agent, unsanitized; undefined before the first evaluation. No promise if no agent has an address. */
  readonly agentText: (node: string) => Promise<string | undefined> | undefined;
};

const JSON_TYPE = 'application/json; charset=utf-8';
const KNOWN_PATHS = 'known paths: / /fleet /metrics /livez /readyz /nodes/NAME/\n';
const PUBLIC_PATHS = ['/metrics', '/livez', '/readyz'];
const FORBIDDEN =
  'the page is shown only over kubectl port-forward to a pod of the fleet controller, port 9478, or to a proxy in the same pod: see docs/fleet.md\n';

/** Per client address; a scraper needs one or two. */
const MAX_CONNECTIONS = 8;
/** All port-forwards share the loopback. */
const MAX_LOCAL_CONNECTIONS = 128;
/** Metrics of thousands of nodes take some 50 ms to render. */
const CACHE_MS = 1_000;

/**
 * Not yet listening. /, /fleet and /nodes/NAME/ are only for {@link isLocal} requests; /metrics, /livez and
 * /readyz for all.
 */
export function createFleetServer(sources: FleetSources): Server {
  const metrics = memoize(sources.metrics, CACHE_MS);
  const fleet = fleetBody(sources.view);
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.setHeader('cache-control', 'no-cache');
    response.setHeader('referrer-policy', 'no-referrer');
    const path = readPath(request, response);
    if (path === undefined) return;
    if (!isLocal(request) && !PUBLIC_PATHS.includes(path)) return send(response, 403, FORBIDDEN);
    response.setHeader('content-security-policy', PAGE_POLICY);
    const [asset, type] = ASSETS[path] ?? [];
    if (asset !== undefined) return send(response, 200, asset, type);
    const [, node] = /^\/nodes\/([a-z0-9.-]+)\/$/.exec(path) ?? [];
    if (node !== undefined) {
      const [status, text] = await read(sources.agentText(node));
      return send(response, status, renderNodePage(node, text), HTML);
    }
    switch (path) {
      case '/fleet':
        return sendFleet(fleet(), request.headers, response);
      case '/metrics': {
        const { body, type: textType } = await metrics();
        return send(response, 200, body, textType);
      }
      case '/livez':
        return sendProbe(response, sources.live() ? undefined : 'the loop has stalled');
      case '/readyz':
        return sendProbe(response, sources.ready() ? undefined : 'the nodes have not been listed yet');
      default:
        return send(response, 404, KNOWN_PATHS);
    }
  };
  return createBoundedServer({
    maxConnections: MAX_CONNECTIONS,
    maxLocalConnections: MAX_LOCAL_CONNECTIONS,
    respond,
  });
}

/** Without an answer the page says why, and tries again. */
async function read(
  requested: ReturnType<FleetSources['agentText']>,
): Promise<[status: number, text: string]> {
  if (requested === undefined) return [404, 'No agent with an address is known on this node.'];
  try {
    const text = await requested;
    return text === undefined ? [503, 'The first evaluation of its agent has not ended yet.'] : [200, text];
  } catch (error) {
    return [502, `Its agent does not answer: ${errorLine(error)}`];
  }
}

/** Shared by all responses; compressed on first use. */
type FleetBody = { readonly json: Buffer; readonly tag: string; readonly zipped: () => Buffer };

function encode(view: FleetView): FleetBody {
  const json = Buffer.from(`${JSON.stringify(view)}\n`);
  const tag = `"${createHash('sha256').update(json).digest('base64url').slice(0, 22)}"`;
  let zipped: Buffer | undefined;
  return { json, tag, zipped: () => (zipped ??= gzipSync(json, { level: 1 })) };
}

/** Encoded once a view. */
function fleetBody(view: FleetSources['view']): () => FleetBody {
  const bodies = new WeakMap<FleetView, FleetBody>();
  return () => {
    const current = view();
    const body = bodies.get(current) ?? encode(current);
    bodies.set(current, body);
    return body;
  };
}

/** 304 if the client has the same version. */
function sendFleet(
  { json, tag, zipped }: FleetBody,
  headers: IncomingMessage['headers'],
  response: ServerResponse,
): void {
  response.setHeader('etag', tag);
  response.setHeader('vary', 'accept-encoding');
  if (headers['if-none-match'] === tag) send(response, 304, '');
  else if (!/\bgzip\b/.test(String(headers['accept-encoding']))) send(response, 200, json, JSON_TYPE);
  else {
    response.setHeader('content-encoding', 'gzip');
    send(response, 200, zipped(), JSON_TYPE);
  }
}
