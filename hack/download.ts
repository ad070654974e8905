import { basename } from 'node:path';
import { EnvHttpProxyAgent, fetch, type Response } from 'undici';

/** A connection or a response that takes longer is none. */
const SILENCE_MS = 5_000;
/** A transfer that rests for longer hangs. */
const PAUSE_MS = 10_000;
const MAX_DOWNLOAD_MS = 10 * 60_000;

/** Hosts that are not asked again in this process. */
const silent = new Set<string>();

/** Reads the response of a URL, through the proxy of the environment. Throws if it does not come, or hangs. */
export async function get<T>(url: string, read: (response: Response) => Promise<T>): Promise<T> {
  const { host } = new URL(url);
  if (silent.has(host)) throw new Error(`${host} does not respond`);
  const timeouts = { connect: { timeout: SILENCE_MS }, headersTimeout: SILENCE_MS, bodyTimeout: PAUSE_MS };
  const dispatcher = new EnvHttpProxyAgent(timeouts);
  const signal = AbortSignal.timeout(MAX_DOWNLOAD_MS);
  try {
    // Sums are those of the files, not compressed.
    const headers = { 'accept-encoding': 'identity' };
    const response = await fetch(url, { dispatcher, signal, headers }).catch((error: Error) => {
      silent.add(host);
      throw new Error(`${host} does not respond (${causeOf(error)})`, { cause: error });
    });
    if (!response.ok) throw new Error(`${url} responds ${response.status}`);
    return await read(response).catch((error: Error) => {
      throw new Error(`${url} cannot be downloaded (${causeOf(error)})`, { cause: error });
    });
  } finally {
    await dispatcher.destroy();
  }
}

function causeOf(error: Error): string | undefined {
  const { message, code } = (error.cause ?? error) as NodeJS.ErrnoException;
  return message || code; // that of several addresses has no message
}

/** A project publishes a sum alone, or lines of sha256sum or sha512sum. */
export function publishedSum(text: string, name: string): string | undefined {
  for (const line of text.split('\n')) {
    const [, sum, file = name] = /^([0-9a-f]{64}|[0-9a-f]{128})(?:\s+\*?(\S+))?\s*$/.exec(line) ?? [];
    if (sum !== undefined && basename(file) === name) return sum;
  }
  return undefined;
}
