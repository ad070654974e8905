import { type ServiceError, status } from '@grpc/grpc-js';

export class CriError extends Error {
  override readonly name = 'CriError';
  /** `refused` is containerd's own error; `unreachable`: nothing listens on the socket. */
  readonly kind: 'unreachable' | 'timeout' | 'refused' | 'absent' | 'unsupported' | 'aborted';

  constructor(method: string, cause: ServiceError, timeoutMs = 0) {
    super(messageOf(cause, timeoutMs));
    this.kind = NOT_CONTAINERD.test(cause.details) ? 'unreachable' : (KINDS.get(cause.code) ?? 'refused');
    if (this.kind !== 'refused') this.message = `containerd's ${method}: ${this.message}`;
  }
}

/** containerd answers without the plugin that starts pods. */
export class CriPluginUnavailable extends Error {
  override readonly name = 'CriPluginUnavailable';
}

/** grpc-js's errors for a peer that does not speak this API. */
const NOT_CONTAINERD = /^(Response message parsing error|Error deserializing)|Protocol error|NGHTTP2/;

const KINDS: ReadonlyMap<number, CriError['kind']> = new Map([
  [status.UNAVAILABLE, 'unreachable'],
  [status.DEADLINE_EXCEEDED, 'timeout'],
  [status.NOT_FOUND, 'absent'],
  [status.UNIMPLEMENTED, 'unsupported'],
  [status.CANCELLED, 'aborted'],
]);

function messageOf({ details, message }: ServiceError, timeoutMs: number): string {
  if (details.startsWith('Deadline exceeded'))
    return `no answer within ${Number((timeoutMs / 1_000).toFixed(1))} s`;
  const [, system] = /Last error: (?:Error: )?(.*?)\.? Resolution note:/s.exec(details) ?? [];
  // grpc-js reports this when a connection breaks during a call.
  if (details === 'null') return 'the connection was lost';
  return system || details || message;
}
