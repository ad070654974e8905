import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';

/**
 * Receives Alertmanager's webhooks and appends each notification to a file as a line of JSON.
 * usage: alert-receiver.ts <address> <port> <file>
 */
const [address, port, file = ''] = process.argv.slice(2);

createServer(async (request, response) => {
  appendFileSync(file, `${JSON.stringify(await json(request))}\n`);
  response.end();
}).listen(Number(port), address);
