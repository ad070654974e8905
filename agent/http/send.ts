import type { ServerResponse } from 'node:http';

/** Ends an answer that nobody may take for something else. How long it may be kept is for each server to say. */
export function send(
  response: ServerResponse,
  status: number,
  body: string | Buffer,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' });
  response.end(body);
}

/** Answers a probe of the kubelet's; `why` it fails, undefined where it does not. */
export function sendProbe(response: ServerResponse, why: string | undefined): void {
  send(response, why === undefined ? 200 : 503, `${why ?? 'ok'}\n`);
}
