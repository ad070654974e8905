import type { ServerResponse } from 'node:http';
import { send } from '../agent/http/send.ts';
import { PAGE_POLICY } from '../agent/page/policy.ts';
import { readSome } from './read-some.ts';

const ANSWER_MS = 10_000;

/**
 * What a page of an agent may do here where it is not of this controller's version: show itself. A node that was taken
 * over answers what it likes, so its own policy is not believed.
 */
const STRANGE_POLICY =
  "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Hands on what the agent of a node answers to a path below /nodes/NAME/. */
export async function answerForNode(
  path: string,
  response: ServerResponse,
  agentUrl: (node: string, path: string) => string | undefined,
): Promise<void> {
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
  const answer = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS), redirect: 'error' }).catch(
    () => undefined,
  );
  if (answer === undefined) return send(response, 502, `the agent on ${node} does not answer\n`);
  const body = await readSome(answer);
  if (body === undefined) return send(response, 502, `the agent on ${node} answers too much\n`);
  const known = answer.headers.get('content-security-policy') === PAGE_POLICY;
  response.setHeader('content-security-policy', known ? PAGE_POLICY : STRANGE_POLICY);
  send(response, answer.status, body, answer.headers.get('content-type') ?? 'text/plain');
}
