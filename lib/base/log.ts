import pino, { type DestinationStream, type Logger } from 'pino';
import { errorLine } from './sanitize.ts';

const REPEAT_MS = 300_000;
const MAX_REMEMBERED = 100;

type Fields = { readonly err?: unknown; readonly path?: unknown; readonly node?: unknown };

/**
 * JSON lines, with names of levels and RFC 3339 times; `base` is in each. An error is one line of text, with its stack
 * at `debug` alone. One that comes again is logged every five minutes, with `repeated`: how often it came since.
 */
export function openLog(
  level: string,
  base: object,
  destination?: DestinationStream,
  now = () => performance.now(),
): Logger {
  const seen = new Map<string, { readonly atMs: number; times: number }>();
  const isDebug = level === 'debug' || level === 'trace';
  /** Undefined if its last line is too recent for another one. */
  const repetitions = (log: Logger, message: unknown, { err, path, node }: Fields): number | undefined => {
    const key = JSON.stringify([log.bindings(), message, path, node, errorLine(err)]);
    const last = seen.get(key);
    if (last !== undefined && now() - last.atMs < REPEAT_MS) {
      last.times += 1;
      return undefined;
    }
    seen.delete(key);
    seen.set(key, { atMs: now(), times: 0 });
    const [oldest] = seen.keys();
    if (seen.size > MAX_REMEMBERED && oldest !== undefined) seen.delete(oldest);
    return last?.times ?? 0;
  };
  const options: pino.LoggerOptions = {
    level,
    base,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: isDebug ? {} : { err: (err: unknown) => ({ message: errorLine(err) }) },
    hooks: {
      logMethod(args, method) {
        const [fields, message, ...rest] = args as [unknown, string?, ...unknown[]];
        const isFailure = typeof fields === 'object' && fields !== null && 'err' in fields;
        const repeated = isFailure ? repetitions(this, message, fields) : 0;
        if (repeated === undefined) return;
        method.apply(this, [
          repeated > 0 ? { ...(fields as object), repeated } : fields,
          message,
          ...rest,
        ] as never);
      },
    },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}
