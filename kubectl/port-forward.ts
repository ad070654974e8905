import http, { type RequestOptions } from 'node:http';
import { Duplex } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { WebSocket } from 'ws';
import { readBody } from '../lib/fleet/reports.ts';

/** `body` is undefined if it is too long for an agent's, as sent or unpacked. */
type ForwardedResponse = { readonly code: number; readonly body: Buffer | undefined };

const DATA = 0;
/** The longest response of an agent. */
const MAX_BYTES = 4 * 2 ** 20;

/**
 * The kubelet connects inside the pod's network namespace. A refused port-forward resolves with the refusal.
 * Rejects when the signal aborts.
 */
export async function getForwarded(
  url: URL,
  path: string,
  {
    maxBytes = MAX_BYTES,
    ...options
  }: RequestOptions & { readonly signal: AbortSignal; readonly maxBytes?: number | undefined },
): Promise<ForwardedResponse> {
  const opened = await openPort(url, options);
  if (!(opened instanceof Duplex)) return responseOf(opened, maxBytes);
  try {
    const { signal } = options;
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const headers = { 'accept-encoding': 'gzip' };
      http.get({ createConnection: () => opened, path, headers, signal }, resolve).on('error', reject);
    });
    return await responseOf(response, maxBytes);
  } finally {
    opened.destroy();
  }
}

async function responseOf(response: http.IncomingMessage, maxBytes: number): Promise<ForwardedResponse> {
  const code = response.statusCode ?? 0;
  const body = await readBody(response, maxBytes);
  if (body === undefined || response.headers['content-encoding'] !== 'gzip') return { code, body };
  try {
    return { code, body: gunzipSync(body, { maxOutputLength: maxBytes }) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') return { code, body: undefined };
    throw error;
  }
}

/**
 * A response is a refusal. Each message starts with the number of its stream; the first one of a stream holds
 * the port in two bytes. The error stream says why the kubelet cannot connect. Source:
 * https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go
 */
export function openPort(url: URL, options: RequestOptions): Promise<Duplex | http.IncomingMessage> {
  const socket = new WebSocket(url, 'v4.channel.k8s.io', options);
  const begun = new Set<number>();
  const port = new Duplex({
    read() {},
    write(bytes: Buffer, _, done) {
      socket.send(Buffer.concat([Buffer.of(DATA), bytes]), done);
    },
    destroy(error, done) {
      socket.terminate();
      done(error);
    },
  });
  // The request reports the error.
  port.on('error', () => {});
  socket.on('message', (message: Buffer) => {
    const [stream = DATA] = message;
    const bytes = message.subarray(begun.has(stream) ? 1 : 3);
    begun.add(stream);
    if (bytes.length === 0) return;
    if (stream === DATA) port.push(bytes);
    else port.destroy(new Error(bytes.toString()));
  });
  socket.on('close', () => port.push(null));
  return new Promise((resolve, reject) => {
    socket.on('open', () => resolve(port));
    socket.on('unexpected-response', (_, response) => resolve(response));
    socket.on('error', (error) => {
      port.destroy(error);
      reject(error);
    });
  });
}
