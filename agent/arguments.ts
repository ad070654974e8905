import { parseArgs } from 'node:util';

/** What the agent was called with; without a command it watches the node. */
export type Arguments = {
  readonly once: boolean;
  readonly json: boolean;
  readonly version: boolean;
  readonly help: boolean;
  readonly uninstall: boolean;
};

/** The words after the program's name, or what is wrong with them. */
export function parseArguments(words: readonly string[]): Arguments | { readonly problem: string } {
  const flag = { type: 'boolean', default: false } as const;
  const options = { once: flag, json: flag, version: flag, help: flag };
  try {
    const { values, positionals } = parseArgs({ args: [...words], options, allowPositionals: true });
    const wrong = positionals.find((word) => word !== 'uninstall');
    if (wrong !== undefined)
      return { problem: `There is no command "${wrong}": the only one is "uninstall"` };
    return { ...values, uninstall: positionals.length > 0 };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}
