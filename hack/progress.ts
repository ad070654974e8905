import { createLogUpdate } from 'log-update';

/** Says how far the work is, for example "812 of 1,912 packages". */
export type Tell = (detail: string) => void;

type Work = {
  readonly what: string;
  readonly next: () => string;
  readonly begunMs: number;
  detail: string;
};

const REDRAW_MS = 100;
const LOG_MS = 60_000;
const SPINNER = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏';

/** The work that goes on now, in the order in which it began. */
const running = new Set<Work>();
const area =
  process.stderr.isTTY && process.env.TERM !== 'dumb' ? createLogUpdate(process.stderr) : undefined;
let timer: NodeJS.Timeout | undefined;

/**
 * Shows work on standard error while it goes on. On a terminal it has a line that is drawn in place. Elsewhere a line
 * says that it began, one a minute how far it is, and one how it ended. `next` names what waits for it.
 */
export async function progress<T>(
  what: string,
  work: (tell: Tell) => Promise<T>,
  { next = (): string => '' } = {},
): Promise<T> {
  const own: Work = { what, next, begunMs: Date.now(), detail: '' };
  running.add(own);
  if (area === undefined) console.error(`… ${what}`);
  timer ??= setInterval(show, area === undefined ? LOG_MS : REDRAW_MS);
  let mark = '✗';
  try {
    const result = await work((detail) => {
      own.detail = detail;
    });
    mark = '✓';
    return result;
  } finally {
    own.detail = '';
    running.delete(own);
    if (running.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
    note(lineOf({ ...own, next: () => '' }, mark));
  }
}

/** Writes to standard output, above the lines of the work that goes on. */
export function print(text: string): void {
  printAbove(() => process.stdout.write(`${text}\n`));
}

/** Writes to standard error, likewise. */
export function note(text: string): void {
  printAbove(() => console.error(text));
}

function printAbove(write: () => void): void {
  area?.clear();
  write();
  if (area !== undefined && running.size > 0) show();
}

function show(): void {
  const mark = SPINNER[Math.floor(Date.now() / REDRAW_MS) % SPINNER.length] ?? '';
  if (area === undefined) for (const work of running) console.error(lineOf(work, '…'));
  else area([...running].map((work) => lineOf(work, mark).slice(0, process.stderr.columns || 80)).join('\n'));
}

function lineOf({ what, next, begunMs, detail }: Work, mark: string): string {
  const seconds = Math.round((Date.now() - begunMs) / 1000);
  const time = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const far = detail === '' ? time : `${detail}, ${time}`;
  const waiting = next();
  return `${mark} ${what}: ${far}${waiting === '' ? '' : `; next: ${waiting}`}`;
}
