import type { ServerResponse } from 'node:http';
import { send } from '../agent/http/bounded-server.ts';
import { PAGE_POLICY } from '../agent/page/policy.ts';
import { fetchAgent, readBody } from './reports.ts';

/**
 * What a page of an agent may do here where it is not of this controller's version: show itself. A node that was taken
 * over answers what it likes, so its own policy is not believed.
 */
const STRANGE_POLICY =
  "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** How many may ask an agent at a time: it lets one address have sixteen connections, and this controller asks it too. */
const AT_ONCE = 4;

/** A function that hands on what the agent of a node answers to a path below /nodes/NAME/. */
export function nodePages(agentUrl: (node: string, path: string) => string | undefined) {
  const asking = new Map<string, number>();
  return async (path: string, response: ServerResponse): Promise<void> => {
    const [, node = '', rest] = /^\/nodes\/([a-z0-9.-]+)(\/[a-z0-9.-]*)?$/.exec(path) ?? [];
    if (rest === undefined) {
      // The page's own links are relative, so the path must end with a slash.
      if (node === '') return send(response, 404, 'there is no such page of a node\n');
      response.setHeader('location', `./${node}/`);
      return send(response, 308, '');
    }
    const url = agentUrl(node, rest);
    if (url === undefined)
      return send(response, 404, `no agent with an address is known on the node ${node}\n`);
    const others = asking.get(node) ?? 0;
    if (others >= AT_ONCE)
      return send(response, 503, `${others} others wait for the agent on ${node}: ask again\n`);
    asking.set(node, others + 1);
    try {
      await handOn(url, node, response);
    } finally {
      const left = (asking.get(node) ?? 1) - 1;
      if (left === 0) asking.delete(node);
      else asking.set(node, left);
    }
  };
}

async function handOn(url: string, node: string, response: ServerResponse): Promise<void> {
  const answer = await fetchAgent(url).catch(() => undefined);
  if (answer === undefined) return send(response, 502, `the agent on ${node} does not answer\n`);
  const body = await readBody(answer);
  if (body === undefined) return send(response, 502, `the agent on ${node} answers too much\n`);
  const known = answer.headers.get('content-security-policy') === PAGE_POLICY;
  response.setHeader('content-security-policy', known ? PAGE_POLICY : STRANGE_POLICY);
  send(response, answer.status, body, answer.headers.get('content-type') ?? 'text/plain');
}
