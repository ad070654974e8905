import http, { type RequestOptions } from 'node:http';
import { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import { readBody } from '../fleet/reports.ts';

/** A response; `body` is undefined where it is too long for an agent's. */
type Answer = { readonly code: number; readonly body: Buffer | undefined };

const DATA = 0;

/**
 * The response of a pod to a GET over the port-forward at `url`: the kubelet connects to the port inside the pod's own
 * network. A refusal of the port-forward is a response as well. Rejects when the signal aborts first.
 */
export async function getForwarded(
  url: URL,
  path: string,
  options: RequestOptions & { readonly signal: AbortSignal },
): Promise<Answer> {
  const opened = await openPort(url, options);
  if (!(opened instanceof Duplex)) return answerOf(opened);
  try {
    const { signal } = options;
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      http.get({ createConnection: () => opened, path, signal }, resolve).on('error', reject);
    });
    return await answerOf(response);
  } finally {
    opened.destroy();
  }
}

async function answerOf(response: http.IncomingMessage): Promise<Answer> {
  return { code: response.statusCode ?? 0, body: await readBody(new Response(response)) };
}

/**
 * A connection to the port, or the response that refuses it. Each message begins with the number of its stream, and the first
 * message of a stream holds the port in two bytes. The error stream says why the kubelet could not connect.
 * Source: https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go
 */
function openPort(url: URL, options: RequestOptions): Promise<Duplex | http.IncomingMessage> {
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
  // The request reports it.
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
