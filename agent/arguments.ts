import { parseArgs } from 'node:util';

/** What the agent was called with; without a flag it watches the node. */
export type Arguments = {
  readonly once: boolean;
  readonly json: boolean;
  readonly version: boolean;
  readonly help: boolean;
};

/** The words after the program's name, or what is wrong with them. */
export function parseArguments(words: readonly string[]): Arguments | { readonly problem: string } {
  const flag = { type: 'boolean', default: false } as const;
  const options = { once: flag, json: flag, version: flag, help: flag };
  try {
    return { ...parseArgs({ args: [...words], options }).values };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}
