import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:net';
import { gzipSync } from 'node:zlib';
import { memoize } from '../lib/base/async.ts';
import { errorLine } from '../lib/base/sanitize.ts';
import { type FleetView, filterView } from '../lib/fleet/view.ts';
import { createBoundedServer, isLocal, readTarget, send, sendProbe } from '../lib/kube/bounded-server.ts';
import { isStatus } from '../lib/report/schema.ts';
import { ASSETS, FLEET_PAGE, PAGE_POLICY, renderNodePage } from './page/page.ts';

export type Selector = (labels: Readonly<Record<string, string>>) => boolean;

/** Each term is compared with the labels of every Node. */
const MAX_TERMS = 20;

/**
 * `key`, `key=value`, `key!=value` and `!key`, separated by commas. Undefined if empty; a string says why it
 * is refused.
 */
export function parseSelector(text: string): Selector | string | undefined {
  const terms = text.split(',').flatMap(parseTerm);
  if (terms.length === 0) return undefined;
  if (terms.length > MAX_TERMS) return `a selector has at most ${MAX_TERMS} terms`;
  return (labels) => terms.every((matches) => matches(labels));
}

function parseTerm(text: string): Selector[] {
  const [, not = '', name = '', operator, rest = ''] = /^(!?)([^=!]*)(!=|==?)?(.*)$/.exec(text.trim()) ?? [];
  const key = name.trim();
  const value = rest.trim();
  if (key === '') return [];
  if (operator === '!=') return [(labels) => labels[key] !== value];
  if (operator !== undefined) return [(labels) => labels[key] === value];
  return [(labels) => (labels[key] === undefined) === (not === '!')];
}

export type FleetSources = {
  readonly view: () => FleetView;
  /** Names of the nodes whose labels match. */
  readonly select: (matches: Selector) => ReadonlySet<string>;
  readonly metrics: () => Promise<{ readonly body: string; readonly type: string }>;
  readonly live: () => boolean;
  readonly ready: () => boolean;
  /** Unvalidated; undefined if no agent has an address. */
  readonly report: (node: string) => Promise<unknown> | undefined;
};

const HTML = 'text/html; charset=utf-8';
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
  const nodePage = nodePages(sources.report);
  const cached = { ...sources, metrics, nodePage, body: fleetBodies(sources) };
  return createBoundedServer({
    maxConnections: MAX_CONNECTIONS,
    maxLocalConnections: MAX_LOCAL_CONNECTIONS,
    respond: (request, response) => route(request, response, cached),
  });
}

type CachedSources = FleetSources & {
  readonly body: ReturnType<typeof fleetBodies>;
  readonly nodePage: ReturnType<typeof nodePages>;
};

async function route(
  request: IncomingMessage,
  response: ServerResponse,
  sources: CachedSources,
): Promise<void> {
  response.setHeader('cache-control', 'no-cache');
  response.setHeader('referrer-policy', 'no-referrer');
  const target = readTarget(request, response);
  if (target === undefined) return;
  const { path, query } = target;
  if (!isLocal(request) && !PUBLIC_PATHS.includes(path)) return send(response, 403, FORBIDDEN);
  response.setHeader('content-security-policy', PAGE_POLICY);
  const [asset, type] = ASSETS[path] ?? [];
  if (asset !== undefined) return send(response, 200, asset, type);
  const [, node, slash] = /^\/nodes\/([a-z0-9.-]+)(\/?)$/.exec(path) ?? [];
  if (node !== undefined) {
    if (slash === '/') return sendPage(response, await sources.nodePage(node));
    // The page's links are relative, so its path must end with a slash.
    response.setHeader('location', `./${node}/`);
    return send(response, 308, '');
  }
  switch (path) {
    case '/':
      return send(response, 200, FLEET_PAGE, HTML);
    case '/fleet':
      return sendFleet(query.get('labels') ?? '', sources, request.headers, response);
    case '/metrics': {
      const { body, type: textType } = await sources.metrics();
      return send(response, 200, body, textType);
    }
    case '/livez':
      return sendProbe(response, sources.live() ? undefined : 'the loop has stalled');
    case '/readyz':
      return sendProbe(response, sources.ready() ? undefined : 'the nodes have not been listed yet');
    default:
      return send(response, 404, KNOWN_PATHS);
  }
}

/** `status` and `problem` of a failure. */
type NodePage = { readonly page: string } | { readonly status: number; readonly problem: string };

/** Concurrent requests share one request to the agent. */
function nodePages(report: FleetSources['report']): (node: string) => Promise<NodePage> {
  const pending = new Map<string, Promise<NodePage>>();
  const load = async (node: string): Promise<NodePage> => {
    const requested = report(node);
    if (requested === undefined)
      return { status: 404, problem: `no agent with an address is known on the node ${node}` };
    try {
      const status = await requested;
      if (status !== undefined && !(isStatus(status) && status.node === node))
        return { status: 502, problem: `the agent on ${node} sent no report that this version can show` };
      return { page: renderNodePage(status) };
    } catch (error) {
      return { status: 502, problem: `the agent on ${node} does not answer: ${errorLine(error)}` };
    }
  };
  return (node) => {
    const page = pending.get(node) ?? load(node).finally(() => pending.delete(node));
    pending.set(node, page);
    return page;
  };
}

function sendPage(response: ServerResponse, result: NodePage): void {
  if ('page' in result) send(response, 200, result.page, HTML);
  else send(response, result.status, `${result.problem}\n`);
}

/** Shared by all responses; compressed on first use. */
type FleetBody = { readonly json: Buffer; readonly tag: string; readonly zipped: () => Buffer };

function encode(view: FleetView): FleetBody {
  const json = Buffer.from(`${JSON.stringify(view)}\n`);
  const tag = `"${createHash('sha256').update(json).digest('base64url').slice(0, 22)}"`;
  let zipped: Buffer | undefined;
  return { json, tag, zipped: () => (zipped ??= gzipSync(json, { level: 1 })) };
}

/** Clients with the same selector share a body. */
const MAX_CACHED_BODIES = 16;

/** Encoded once a view. */
function fleetBodies({ view, select }: FleetSources) {
  const bodies = new Map<string, FleetBody>();
  let encoded: FleetView | undefined;
  return (labels: string, matches: Selector | undefined): FleetBody => {
    const current = view();
    if (encoded !== current || bodies.size >= MAX_CACHED_BODIES) bodies.clear();
    encoded = current;
    const body =
      bodies.get(labels) ?? encode(matches === undefined ? current : filterView(current, select(matches)));
    bodies.set(labels, body);
    return body;
  };
}

/** 304 if the client has the same version. */
async function sendFleet(
  labels: string,
  { body }: CachedSources,
  headers: IncomingMessage['headers'],
  response: ServerResponse,
): Promise<void> {
  const matches = parseSelector(labels);
  if (typeof matches === 'string') return send(response, 400, `${matches}\n`);
  const { json, tag, zipped } = body(matches === undefined ? '' : labels, matches);
  response.setHeader('etag', tag);
  response.setHeader('vary', 'accept-encoding');
  if (headers['if-none-match'] === tag) return send(response, 304, '');
  if (!/\bgzip\b/.test(String(headers['accept-encoding']))) return send(response, 200, json, JSON_TYPE);
  response.setHeader('content-encoding', 'gzip');
  return send(response, 200, zipped(), JSON_TYPE);
}
