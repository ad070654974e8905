import type { ServiceError } from '@grpc/grpc-js';
import { Status as code } from '@grpc/grpc-js/build/src/constants.js';

/** A CRI call that containerd refused, or that did not come through. */
export class CriError extends Error {
  override readonly name = 'CriError';
  /** `unreachable`: no containerd behind the socket; `timeout`: no answer in time; `refused`: its own answer. */
  readonly kind: 'unreachable' | 'timeout' | 'refused' | 'absent' | 'unsupported' | 'aborted';

  constructor(method: string, cause: ServiceError, timeoutMs = 0) {
    super(wordsOf(cause, timeoutMs));
    this.kind = GARBLED.test(cause.details) ? 'unreachable' : (KINDS.get(cause.code) ?? 'refused');
    if (this.kind !== 'refused') this.message = `containerd's ${method}: ${this.message}`;
  }
}

/** What grpc-js says of an answer that is no message of this API: whatever speaks there, it is not containerd. */
const GARBLED = /^(Response message parsing error|Error deserializing)|Protocol error|NGHTTP2/;

/** An error's words without what grpc-js wraps around them. */
function wordsOf({ details, message }: ServiceError, timeoutMs: number): string {
  if (details.startsWith('Deadline exceeded'))
    return `no answer within ${Number((timeoutMs / 1_000).toFixed(1))} s`;
  const [, system] = /Last error: (?:Error: )?(.*?)\.? Resolution note:/s.exec(details) ?? [];
  // That is what grpc-js has of a connection that broke during a call.
  if (details === 'null') return 'the connection was lost';
  return system || details || message;
}

const KINDS: ReadonlyMap<number, CriError['kind']> = new Map([
  [code.UNAVAILABLE, 'unreachable'],
  [code.DEADLINE_EXCEEDED, 'timeout'],
  [code.NOT_FOUND, 'absent'],
  [code.UNIMPLEMENTED, 'unsupported'],
  [code.CANCELLED, 'aborted'],
]);
