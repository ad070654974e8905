import http, { type RequestOptions } from 'node:http';
import { Duplex } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { WebSocket } from 'ws';
import { readBody } from '../../lib/base/body.ts';

/** Whatever the status code is. */
export type TextResponse = { readonly code: number; readonly text: string };

const DATA = 0;

/**
 * The kubelet connects inside the pod's network namespace. A refused port-forward resolves with the refusal.
 * Rejects when the signal aborts, or if the response is too long.
 */
export async function getForwarded(
  url: URL,
  path: string,
  { maxBytes, ...options }: RequestOptions & { readonly signal: AbortSignal; readonly maxBytes: number },
): Promise<TextResponse> {
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

/** The limit is for what was sent, and for what it unpacks to. */
export async function responseOf(response: http.IncomingMessage, maxBytes: number): Promise<TextResponse> {
  const code = response.statusCode ?? 0;
  const tooLong = new Error('the response is too long');
  const body = await readBody(response, maxBytes);
  if (body === undefined) throw tooLong;
  if (response.headers['content-encoding'] !== 'gzip') return { code, text: body.toString() };
  try {
    return { code, text: gunzipSync(body, { maxOutputLength: maxBytes }).toString() };
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? tooLong : error;
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
