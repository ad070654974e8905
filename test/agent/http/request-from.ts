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
export async function requestFrom(from: string, port: number, path: string, headers = {}) {
  const host = from === '127.0.0.6' ? '127.0.0.1' : from;
  const outgoing = request({ host, localAddress: from, port, path, headers, agent: false });
  outgoing.end();
  const [response] = await once(outgoing, 'response');
  return { status: response.statusCode as number, body: await text(response) };
}

/** Host headers, and whether a browser that sends one to the loopback can only mean this machine. */
export const HOSTS: Readonly<Record<string, boolean>> = {
  '127.0.0.1:9478': true,
  '10.0.0.7': true,
  '[::1]:9478': true,
  localhost: true,
  'fleet.localhost:80': true,
  'rebound.example': false,
  'localhost.example:9478': false,
  '127.0.0.1.example': false,
};
