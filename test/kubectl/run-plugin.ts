import { runPlugin, type Streams } from '../../kubectl/command-line.ts';

/** The moment at which the plugin runs in tests. */
export const NOW = Date.parse('2026-03-01T12:00:00Z');

/** What the plugin printed, and its exit code. */
export type Ran = { readonly code: number; readonly out: string; readonly err: string };

/** How it is run: in a terminal of so many columns, or in none. */
export type RunOptions = Partial<Pick<Streams, 'ask' | 'signal' | 'now'>> & {
  readonly columns?: number;
  readonly colored?: boolean;
  readonly hear?: (text: string) => void;
};

/** Runs the plugin in this process. */
export async function plugin(words: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { columns = Number.POSITIVE_INFINITY, colored = false, hear = () => {} } = options;
  let [out, err] = ['', ''];
  const code = await runPlugin(words, {
    env: process.env,
    now: options.now ?? (() => NOW),
    signal: options.signal ?? new AbortController().signal,
    settleMs: 0,
    screen: {
      columns,
      colored,
      out: (text) => {
        out += text;
        hear(text);
      },
      err: (text) => {
        err += text;
      },
    },
    ...(options.ask === undefined ? {} : { ask: options.ask }),
  });
  return { code, out, err };
}

/** The lines that are longer than a terminal is wide, but for those of one long word, which are not to be broken. */
export function tooLong({ out, err }: Ran, columns: number): string[] {
  return `${out}${err}`.split('\n').filter((line) => line.length > columns && line.trim().includes(' '));
}
