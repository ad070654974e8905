import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:net';
import { gzipSync } from 'node:zlib';
import { memoize } from '../agent/async.ts';
import { createLimitedServer, isLocal, send, sendProbe } from '../agent/http/bounded-server.ts';
import { BASE_STYLE } from '../agent/page/assets.ts';
import { pagePolicy } from '../agent/page/policy.ts';
import { nodePages } from './node-page.ts';
import { PAGE, ROWS_SCRIPT, SCRIPT, STYLE } from './page/assets.ts';
import type { FleetView } from './view.ts';

/** Whether a Node's labels match. */
export type Selector = (labels: Readonly<Record<string, string>>) => boolean;

/** A person writes two or three; each is compared with the labels of every Node. */
const MOST_TERMS = 20;

/**
 * Parses a selector of `key`, `key=value`, `key!=value` and `!key`, with commas between. Undefined for one that asks for
 * nothing; a text says why it is refused.
 */
export function parseSelector(text: string): Selector | string | undefined {
  const terms = text.split(',').flatMap(parseTerm);
  if (terms.length === 0) return undefined;
  if (terms.length > MOST_TERMS) return `a selector has at most ${MOST_TERMS} terms`;
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

/** What the HTTP server shows. */
export type FleetPages = {
  readonly view: () => FleetView;
  /** Names of the nodes whose labels match. */
  readonly select: (matches: Selector) => ReadonlySet<string>;
  readonly metrics: () => Promise<{ readonly body: string; readonly type: string }>;
  readonly live: () => boolean;
  readonly ready: () => boolean;
  /** The URL of a path of the agent on a node; undefined where no agent has an address. */
  readonly agentUrl: (node: string, path: string) => string | undefined;
};

/** What a browser may do for the page: load its style, its script and its data, all from here. */
const PAGE_POLICY = pagePolicy("'self'", "'self'");

const CSS = 'text/css; charset=utf-8';
const JAVASCRIPT = 'text/javascript; charset=utf-8';
const FILES: Readonly<Record<string, readonly [text: string, type: string]>> = {
  '/': [PAGE, 'text/html; charset=utf-8'],
  '/base.css': [BASE_STYLE, CSS],
  '/fleet.css': [STYLE, CSS],
  '/fleet.js': [SCRIPT, JAVASCRIPT],
  '/rows.js': [ROWS_SCRIPT, JAVASCRIPT],
};
const KNOWN = 'known paths: / /fleet /metrics /livez /readyz /nodes/NAME/\n';
/** What the network is answered: for a scraper and the kubelet. */
const PUBLIC = ['/metrics', '/livez', '/readyz'];
const HIDDEN =
  'the page is shown only over kubectl port-forward -n gvisor-ready deployment/gvisor-ready-fleet 9478, or to a proxy in the same pod: see docs/fleet.md\n';

/** How many connections one address may have: all who look at the page through the API server come from its own. */
const MOST_CONNECTIONS = 128;

/** How long metrics are given again: of thousands of nodes they take some 50 ms to make. */
const FRESH_MS = 1_000;

/**
 * The fleet's HTTP server, not yet listening: the page at /, its data at /fleet, and each node's own page below /nodes/, all three
 * only for a {@link isLocal} request.
 */
export function createFleetServer(given: FleetPages): Server {
  let last: { readonly view: FleetView; readonly body: Body } | undefined;
  const whole = () => {
    const view = given.view();
    if (last?.view !== view) last = { view, body: bodyOf(view) };
    return last.body;
  };
  const metrics = memoize(given.metrics, FRESH_MS);
  const shown = { ...given, metrics, whole, forNode: nodePages(given.agentUrl) };
  const reply = (request: IncomingMessage, response: ServerResponse) =>
    void answer(request, response, shown).catch((error: unknown) =>
      send(response, 500, `${error instanceof Error ? error.message : String(error)}\n`),
    );
  return createLimitedServer({ mostConnections: MOST_CONNECTIONS, answer: reply });
}

/** What is shown, some of it kept. */
type Kept = Omit<FleetPages, 'agentUrl'> & {
  readonly whole: () => Body;
  readonly forNode: ReturnType<typeof nodePages>;
};

async function answer(request: IncomingMessage, response: ServerResponse, shown: Kept): Promise<void> {
  const { url = '/', method, headers } = request;
  // A path may begin with two slashes, which alone would be the name of a host.
  const parsed = URL.parse(url.startsWith('/') ? `http://fleet${url}` : url);
  const path = parsed?.pathname ?? '';
  response.setHeader('cache-control', 'no-cache');
  response.setHeader('referrer-policy', 'no-referrer');
  if (method !== 'GET' && method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    return send(response, 405, 'only GET is known here\n');
  }
  if (!isLocal(request) && !PUBLIC.includes(path)) return send(response, 403, HIDDEN);
  if (path.startsWith('/nodes/')) return shown.forNode(path, response);
  const [text, type] = FILES[path] ?? [];
  if (text !== undefined) {
    response.setHeader('content-security-policy', PAGE_POLICY);
    return send(response, 200, text, type);
  }
  switch (path) {
    case '/fleet':
      return sendFleet(parsed?.searchParams.get('labels') ?? '', shown, headers, response);
    case '/metrics': {
      const { body, type: textType } = await shown.metrics();
      return send(response, 200, body, textType);
    }
    case '/livez':
      return sendProbe(response, shown.live() ? undefined : 'the loop has stalled');
    case '/readyz':
      return sendProbe(response, shown.ready() ? undefined : 'nodes were not read yet');
    default:
      return send(response, 404, KNOWN);
  }
}

/** The fleet as JSON, which all answers share, with its tag; compressed when somebody first asks for that. */
type Body = { readonly json: Buffer; readonly tag: string; readonly zipped: () => Buffer };

function bodyOf(view: FleetView): Body {
  const json = Buffer.from(`${JSON.stringify(view)}\n`);
  const tag = `"${createHash('sha256').update(json).digest('base64url').slice(0, 22)}"`;
  let zipped: Buffer | undefined;
  return { json, tag, zipped: () => (zipped ??= gzipSync(json, { level: 1 })) };
}

function only(names: ReadonlySet<string>, view: FleetView): FleetView {
  return { ...view, nodes: view.nodes.filter(({ name }) => names.has(name)) };
}

/** Sends the fleet, where labels are asked for with the rows of nodes that match only; nothing where the browser has the same already. */
async function sendFleet(
  labels: string,
  { view, select, whole }: Kept,
  headers: IncomingMessage['headers'],
  response: ServerResponse,
): Promise<void> {
  const matches = parseSelector(labels);
  if (typeof matches === 'string') return send(response, 400, `${matches}\n`);
  const { json, tag, zipped } = matches === undefined ? whole() : bodyOf(only(select(matches), view()));
  response.setHeader('etag', tag);
  response.setHeader('vary', 'accept-encoding');
  if (headers['if-none-match'] === tag) return send(response, 304, '');
  const type = 'application/json; charset=utf-8';
  if (!/\bgzip\b/.test(String(headers['accept-encoding']))) return send(response, 200, json, type);
  response.setHeader('content-encoding', 'gzip');
  return send(response, 200, zipped(), type);
}
