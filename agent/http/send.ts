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
