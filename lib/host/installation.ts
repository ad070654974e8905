import { sanitizeLine } from '../base/sanitize.ts';
import { formatUtc } from '../base/utc.ts';
import type { Host } from './host.ts';
import { parseProcessStat } from './process.ts';

/** Written by the installer (installer/journal/journal.ts), one a handler. */
export function installJournal(handler: string): string {
  return `/usr/local/lib/gvisor/install-${handler}.json`;
}

/** A part that is missing or not understood is absent. */
export type Installation = {
  /** Committed last, such as "release-20260223.0". */
  readonly installed?: string;
  /** Begun and not ended; times are ISO 8601. */
  readonly pending?: {
    readonly release: string;
    readonly step: string;
    readonly since: string;
    /** Whether the release is taken away. */
    readonly removes?: true;
    /** Whether no installer is at work, or none that makes progress. */
    readonly interrupted: boolean;
  };
  /** The node was as before afterwards. */
  readonly failure?: {
    readonly release: string;
    readonly step: string;
    /** A reason code, if one names the cause. */
    readonly reason?: string;
    readonly message: string;
    readonly at: string;
  };
};

/** The remedy for an installation that was interrupted. */
export const RUN_AGAIN = 'run gvisor-ready-install again, which finishes it or takes it back';

export function describePending(pending: NonNullable<Installation['pending']>): string {
  const { release, step, since, removes = false, interrupted } = pending;
  const where = `(step ${step}, begun ${formatUtc(since)})`;
  return interrupted
    ? `the ${removes ? 'removal' : 'installation'} of ${release} was interrupted ${where}`
    : `${release} is being ${removes ? 'removed' : 'installed'} ${where}`;
}

/** The installer's text in containerd's configuration may be in it three times. */
const MAX_BYTES = 256 * 1024;
const MAX_MESSAGE = 500;
/** The journal is written before each step, and only the wait for a quiet moment may take longer. */
const MAX_STEP_MS = 15 * 60_000;

export function isUnderWay(installation: Installation | undefined): boolean {
  return installation?.pending?.interrupted === false;
}

/** Undefined if the installer was never used, or if that is unknown. */
export async function readInstallation(
  host: Host,
  handler: string,
  wallMs: number,
): Promise<Installation | undefined> {
  const file = installJournal(handler);
  try {
    const { process, ...known } = parseJournal((await host.readText(file, MAX_BYTES)) ?? '');
    if (known.pending === undefined) return Object.keys(known).length === 0 ? undefined : known;
    const { changedMs = 0 } = (await host.stat(file)) ?? {};
    const isAtWork = wallMs - changedMs < MAX_STEP_MS && (await isRunning(host, process));
    return { ...known, pending: { ...known.pending, interrupted: !isAtWork } };
  } catch {
    return undefined;
  }
}

/** A PID and its start time name one process until the next boot. */
async function isRunning(host: Host, process: Journal['process']): Promise<boolean> {
  if (process === undefined) return false;
  const text = await host.readText(`/proc/${process.pid}/stat`);
  const { startTicks, ending } = parseProcessStat(text ?? '');
  return startTicks === process.startTicks && !ending;
}

type Journal = Installation & { readonly process?: { readonly pid: number; readonly startTicks: number } };
type Fields = Readonly<Record<string, unknown>>;

/** Throws for anything but a journal of format 1. */
function parseJournal(text: string): Journal {
  const journal = fieldsOf(JSON.parse(text));
  if (journal.format !== 1) throw new Error('unknown format');
  const installed = releaseOf(fieldsOf(journal.installed));
  const failure = parseFailure(fieldsOf(journal.failure));
  return {
    ...(installed && { installed }),
    ...parsePending(fieldsOf(journal.pending)),
    ...(failure && { failure }),
  };
}

function parsePending(fields: Fields): Pick<Journal, 'pending' | 'process'> {
  const attempt = attemptOf(fields, fields.since);
  if (attempt === undefined) return {};
  const { release, step, at: since } = attempt;
  const removes = fields.removes === true && ({ removes: true } as const);
  const { pid, startTicks } = fieldsOf(fields.process);
  const isProcess = Number.isSafeInteger(pid) && Number.isSafeInteger(startTicks);
  return {
    pending: { release, step, since, ...removes, interrupted: true },
    ...(isProcess ? { process: { pid: Number(pid), startTicks: Number(startTicks) } } : {}),
  };
}

function parseFailure(fields: Fields): Installation['failure'] {
  const attempt = attemptOf(fields, fields.at);
  if (attempt === undefined) return undefined;
  const reason = /^[A-Za-z]{1,64}$/.exec(textOf(fields.reason))?.[0];
  const message = sanitizeLine(textOf(fields.message).slice(0, MAX_MESSAGE));
  return { ...attempt, ...(reason && { reason }), message };
}

/** Undefined if a part is missing. */
function attemptOf(fields: Fields, time: unknown) {
  const release = releaseOf(fields);
  const step = /^[a-z-]{1,20}$/.exec(textOf(fields.step))?.[0];
  const atMs = Date.parse(textOf(time));
  if (release === undefined || step === undefined || Number.isNaN(atMs)) return undefined;
  return { release, step, at: new Date(atMs).toISOString() };
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function releaseOf({ generation }: Fields): string | undefined {
  return /\/([\w.+~-]{1,60})-[0-9a-f]{12}$/.exec(textOf(generation))?.[1];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
