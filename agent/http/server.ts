import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:net';
import { memoize } from '../async.ts';
import { renderPage } from '../page/page.ts';
import { PAGE_POLICY } from '../page/policy.ts';
import { renderReasons } from '../page/reasons.ts';
import type { Status } from '../report.ts';
import { errorLine } from '../sanitize.ts';
import { createLimitedServer, isLocal, send, sendProbe } from './bounded-server.ts';

/** What the HTTP server shows. */
export type Shown = {
  readonly metrics: () => Promise<{ readonly body: string; readonly type: string }>;
  /** Absent before the first look has ended. */
  readonly report: () => Status | undefined;
  /** Whether the loop still turns. */
  readonly live: () => boolean;
  /** Why a rollout must not go on to the next node; undefined when it may. */
  readonly unready: () => string | undefined;
};

/** How long an answer is given again. */
const FRESH_MS = 250;
/** How many connections one address may have; a scraper has one or two, a browser six. */
const MOST_CONNECTIONS = 16;

/** Where to listen; the host "::" means every address. */
type Address = { readonly host: string; readonly port: number };

/**
 * The agent's HTTP server: pages for people at / and /reasons, and /metrics, /livez, /readyz and /report; not yet listening.
 * Only a {@link isLocal} request is answered with pods by name.
 */
export function createAgentServer(shown: Shown): Server {
  const answers = keptAnswers(shown);
  const reply = (request: IncomingMessage, response: ServerResponse) => {
    const { url = '/' } = request;
    response.setHeader('cache-control', 'no-store');
    // A path may begin with two slashes, which alone would be the name of a host.
    const pathname = URL.parse(url.startsWith('/') ? `http://agent${url}` : url)?.pathname ?? '';
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return send(response, 405, 'only GET is known here\n');
    }
    const shown = { ...answers, ...(isLocal(request) ? answers.local : answers.remote) };
    void answer(pathname, shown, response).catch((error: unknown) =>
      send(response, 500, `${String(error)}\n`),
    );
  };
  return createLimitedServer({ mostConnections: MOST_CONNECTIONS, answer: reply });
}

/** What is shown, made anew at most once in {@link FRESH_MS}. */
function keptAnswers({ metrics, report, live, unready }: Shown) {
  const kept = <T>(make: () => T) => memoize(make, FRESH_MS);
  const json = (status: Status | undefined) => status && `${JSON.stringify(status, null, 2)}\n`;
  const withoutPods = () => {
    const status = report();
    return status && { ...status, pods: undefined };
  };
  return {
    metrics: kept(metrics),
    reasons: kept(renderReasons),
    live,
    unready,
    local: { report: kept(() => json(report())), page: kept(() => renderPage(report())) },
    remote: { report: kept(() => json(withoutPods())), page: kept(() => renderPage(withoutPods(), true)) },
  };
}

type Answers = ReturnType<typeof keptAnswers>;

/** Lets a server listen; gives what is wrong where it cannot. */
export async function listen(server: Server, { host, port }: Address): Promise<string | undefined> {
  // Without an address Node listens on both families, and on IPv4 alone where a kernel lacks the other.
  server.listen({ port, ...(host === '::' ? {} : { host }) });
  return once(server, 'listening').then(
    () => undefined,
    (cause: unknown) => `Cannot listen on port ${port}: ${errorLine(cause)}; set LISTEN_ADDRESS to another`,
  );
}

/** Where a browser on the same machine finds the page; undefined while nothing listens. */
export function pageAddress(server: Server): string | undefined {
  const bound = server.address();
  if (bound === null || typeof bound === 'string') return undefined;
  const { address, family, port } = bound;
  const named = family === 'IPv6' ? `[${address}]` : address;
  return `http://${['::', '0.0.0.0'].includes(address) ? 'localhost' : named}:${port}/`;
}

async function answer(
  path: string,
  shown: Answers & Answers['local'],
  response: ServerResponse,
): Promise<void> {
  switch (path) {
    case '/':
      return sendPage(response, shown.page());
    case '/reasons':
      return sendPage(response, shown.reasons());
    case '/metrics': {
      const { body, type } = await shown.metrics();
      return send(response, 200, body, type);
    }
    case '/livez':
      return sendProbe(response, shown.live() ? undefined : 'the loop has stalled');
    case '/readyz':
      return sendProbe(response, shown.unready());
    case '/report': {
      const report = shown.report();
      if (report === undefined) return send(response, 503, 'the first look has not ended yet\n');
      return send(response, 200, report, 'application/json; charset=utf-8');
    }
    default:
      return send(response, 404, 'known paths: / /reasons /metrics /livez /readyz /report\n');
  }
}

function sendPage(response: ServerResponse, page: string): void {
  response.setHeader('content-security-policy', PAGE_POLICY);
  response.setHeader('referrer-policy', 'no-referrer');
  send(response, 200, page, 'text/html; charset=utf-8');
}
