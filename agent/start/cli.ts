import { parseArgs } from 'node:util';
import { errorLine } from '../../lib/base/sanitize.ts';
import { settingLines } from '../../lib/base/settings.ts';
import SETTINGS from '../../lib/fleet/agent-settings.json' with { type: 'json' };

const FLAG = { type: 'boolean', default: false } as const;
const FLAGS = { once: FLAG, json: FLAG, version: FLAG, help: FLAG };

export function parseArguments(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: FLAGS }).values;
  } catch (error) {
    return { problem: errorLine(error) };
  }
}

export function helpText(version: string): string {
  return `gvisor-ready agent ${version}: proves that gVisor works on this node, and keeps watching it.

usage: npm start -- [--once] [--json] [--version] [--help]
  --once     evaluate once; exit code 0 proven, 1 not ready, 2 unknown, 64 wrong usage
  --json     print the report of --once as JSON

settings, from the environment:
${settingLines(SETTINGS, 18)}
`;
}

export const EXIT_CODES = { True: 0, False: 1, Unknown: 2 } as const;
