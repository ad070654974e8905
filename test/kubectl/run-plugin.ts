import { type PluginOptions, runPlugin } from '../../kubectl/command-line.ts';

/** The time at which tests run the plugin. */
export const NOW = Date.parse('2026-03-01T12:00:00Z');

export type PluginResult = { readonly code: number; readonly out: string; readonly err: string };

/** How the plugin is run; `width` makes it a terminal. */
export type PluginRunOptions = Partial<Pick<PluginOptions, 'confirm' | 'signal'>> & {
  readonly width?: number;
  readonly colored?: boolean;
  readonly onOutput?: (text: string) => void;
};

export async function plugin(argv: readonly string[], options: PluginRunOptions = {}): Promise<PluginResult> {
  const { width = Number.POSITIVE_INFINITY, colored = false, onOutput, confirm } = options;
  let [out, err] = ['', ''];
  const code = await runPlugin(argv, {
    env: process.env,
    now: () => NOW,
    signal: options.signal ?? new AbortController().signal,
    pollMs: 1,
    output: {
      width,
      colored,
      out: (text) => {
        out += text;
        onOutput?.(text);
      },
      err: (text) => {
        err += text;
      },
    },
    ...(confirm === undefined ? {} : { confirm }),
  });
  return { code, out, err };
}

/** The lines that exceed the width, except those of one long word. */
export function overlongLines({ out, err }: PluginResult, width: number): string[] {
  return `${out}${err}`.split('\n').filter((line) => line.length > width && line.trim().includes(' '));
}
