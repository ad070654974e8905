import { once } from 'node:events';
import { request } from 'node:http';
import { networkInterfaces } from 'node:os';
import { text } from 'node:stream/consumers';

/** Addresses of this machine's interfaces, and the source address of Istio's sidecar. */
export const NETWORK: readonly string[] = [
  ...Object.values(networkInterfaces()).flatMap((all = []) =>
    all.flatMap(({ internal, family, address }) => (internal || family !== 'IPv4' ? [] : [address])),
  ),
  '127.0.0.6',
];

/** The addresses from which `kubectl port-forward` connects inside the pod. */
export const PORT_FORWARD: readonly string[] = ['127.0.0.1', '::1'];

/** The response of a server on this machine to a request from one of its addresses. */
export async function requestFrom(from: string, port: number, path: string) {
  const host = from === '127.0.0.6' ? '127.0.0.1' : from;
  const outgoing = request({ host, localAddress: from, port, path, agent: false });
  outgoing.end();
  const [response] = await once(outgoing, 'response');
  return { status: response.statusCode as number, body: await text(response) };
}
