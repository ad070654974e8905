import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:net';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { createLimitedServer } from '../agent/http/limited-server.ts';
import { send } from '../agent/http/send.ts';
import { BASE_STYLE } from '../agent/page/assets.ts';
import { pagePolicy } from '../agent/page/policy.ts';
import { answerForNode } from './node-page.ts';
import { PAGE, ROWS_SCRIPT, SCRIPT, STYLE } from './page/assets.ts';
import type { FleetView } from './view.ts';

/** What the HTTP server shows. */
export type Shown = {
  readonly view: () => FleetView;
  /** Names of the nodes whose labels match a selector. */
  readonly select: (selector: string) => ReadonlySet<string>;
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
const compress = promisify(gzip);

/** How many connections one address may have: all who look at the page through the API server come from its own. */
const MOST_CONNECTIONS = 128;

/** The fleet's HTTP server, not yet listening: the page at /, its data at /fleet, and each node's own page below /nodes/. */
export function createFleetServer(shown: Shown): Server {
  const reply = (request: IncomingMessage, response: ServerResponse) =>
    void answer(request, response, shown).catch((error: unknown) =>
      send(response, 500, `${error instanceof Error ? error.message : String(error)}\n`),
    );
  return createLimitedServer({ mostConnections: MOST_CONNECTIONS, answer: reply });
}

async function answer(request: IncomingMessage, response: ServerResponse, shown: Shown): Promise<void> {
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
  if (path.startsWith('/nodes/')) return answerForNode(path, response, shown.agentUrl);
  const [text, type] = FILES[path] ?? [];
  if (text !== undefined) {
    response.setHeader('content-security-policy', PAGE_POLICY);
    return send(response, 200, text, type);
  }
  switch (path) {
    case '/fleet':
      return sendView(viewFor(parsed?.searchParams.get('labels') ?? '', shown), headers, response);
    case '/metrics': {
      const { body, type: textType } = await shown.metrics();
      return send(response, 200, body, textType);
    }
    case '/livez':
      return shown.live() ? send(response, 200, 'ok\n') : send(response, 503, 'the loop has stalled\n');
    case '/readyz':
      return shown.ready() ? send(response, 200, 'ok\n') : send(response, 503, 'nodes were not read yet\n');
    default:
      return send(response, 404, KNOWN);
  }
}

/** The fleet, with the rows of nodes whose labels match only. */
function viewFor(selector: string, { view, select }: Shown): FleetView {
  if (selector.trim() === '') return view();
  const names = select(selector);
  return { ...view(), nodes: view().nodes.filter(({ name }) => names.has(name)) };
}

/** Sends the view as JSON, or nothing where the browser has the same already. */
async function sendView(
  view: FleetView,
  headers: IncomingMessage['headers'],
  response: ServerResponse,
): Promise<void> {
  const text = JSON.stringify(view);
  const tag = `"${createHash('sha256').update(text).digest('base64url').slice(0, 22)}"`;
  response.setHeader('etag', tag);
  response.setHeader('vary', 'accept-encoding');
  if (headers['if-none-match'] === tag) return send(response, 304, '');
  const type = 'application/json; charset=utf-8';
  if (!/\bgzip\b/.test(String(headers['accept-encoding']))) return send(response, 200, `${text}\n`, type);
  response.setHeader('content-encoding', 'gzip');
  return send(response, 200, await compress(text, { level: 1 }), type);
}
