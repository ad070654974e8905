import { parseArgs } from 'node:util';
import { errorLine } from './host/error-line.ts';

const FLAG = { type: 'boolean', default: false } as const;
const FLAGS = { once: FLAG, json: FLAG, version: FLAG, help: FLAG };

/** What the agent was called with, or what is wrong with that; without a flag it watches the node. */
export function parseArguments(words: readonly string[]) {
  try {
    return parseArgs({ args: [...words], options: FLAGS }).values;
  } catch (error) {
    return { problem: errorLine(error) };
  }
}
