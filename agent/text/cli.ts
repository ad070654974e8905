import { parseArgs } from 'node:util';
import type { Agent } from '../agent.ts';
import { SETTINGS, settingLines } from '../config.ts';
import type { PodsReport } from '../pods/pod.ts';
import type { Status } from '../report.ts';
import { errorLine } from '../sanitize.ts';
import { renderReport } from './terminal.ts';

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

/** What --help prints: the flags, the exit codes, and every setting with its default. */
export function helpText(version: string): string {
  return `gvisor-ready agent ${version}: proves that gVisor works on this node, and keeps watching it.

usage: npm start -- [--once] [--json] [--version] [--help]
  --once     look once; exit code 0 proven, 1 not ready, 2 unknown, 64 wrong usage
  --json     print the report as JSON (with --once), else JSON logs

settings, from the environment:
${settingLines(SETTINGS, 18)}
`;
}

/** The exit code for wrong usage and wrong settings. */
const USAGE = 64;

/** Prints to standard output; gives the exit code for that it went well. */
export function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** Says what is wrong, a line each, and gives the exit code; that of wrong usage points to the help. */
export function complain(problems: readonly string[], code: number = USAGE): number {
  process.stderr.write(`${problems.join('\n')}\n${code === USAGE ? 'Try --help.\n' : ''}`);
  return code;
}

/** What standard output shows: as wide as the terminal, within reason, else as wide as most are; colours where it has them. */
export function screenOf(): { readonly colored: boolean; readonly width: number } {
  const { isTTY, columns = USUAL_WIDTH } = process.stdout;
  return { colored: isTTY && process.stdout.hasColors(), width: Math.min(Math.max(columns, 40), 120) };
}

const USUAL_WIDTH = 80;

/** The exit codes of a single look, by what it came to. */
export const EXIT_CODES = { True: 0, False: 1, Unknown: 2 } as const;

/** What a single look needs: the agent, whether to print JSON, and what reads the pods. */
export type OnceOptions = {
  readonly agent: Agent;
  readonly json: boolean;
  readonly readPods: (signal: AbortSignal) => Promise<PodsReport | undefined>;
};

/** Looks once, prints what was seen as a table or as JSON, and gives the exit code. No second look confirms a single one. */
export async function lookOnce({ agent, json, readPods }: OnceOptions, signal: AbortSignal): Promise<number> {
  await agent.reconcile([{ kind: 'start' }], signal);
  if (agent.report === undefined) return EXIT_CODES.Unknown;
  const { verdict } = agent.report.evaluation;
  const pods = await readPods(signal).catch(() => undefined);
  const report: Status = { ...agent.report, verdict, pods };
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : renderReport(report, screenOf()));
  return EXIT_CODES[verdict.status];
}
