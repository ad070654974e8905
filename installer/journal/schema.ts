import { absentOr, count, list, matching, object, oneOf, text } from '../../lib/report/schema.ts';
import { STEPS, type StepName } from '../base/refusal.ts';
import { GENERATIONS } from '../release/generation.ts';

/** A marked block in one file, for one handler. */
export type Written = {
  /** Host path of containerd's file. */
  readonly file: string;
  /** For all handlers of the file; goes with the last one. */
  readonly head?: string;
  readonly text: string;
};

/** A generation, and what names it in containerd's configuration. */
export type Installed = { readonly generation: string; readonly written: Written };

/** Together they name one process until the next boot. */
export type InstallerProcess = { readonly pid: number; readonly startTicks: number };

/** The record of one handler, written before the first byte and after each step. */
export type Journal = {
  readonly format: 1;
  readonly handler: string;
  /** The last commit, or absent. */
  readonly installed?: Installed | undefined;
  /** The commit before it, for a rollback. */
  readonly previous?: Installed | undefined;
  /** Left by a person's rollback: only a person installs it again. */
  readonly left?: string | undefined;
  /** Only copied, for a configuration that something else writes. */
  readonly staged?: readonly string[] | undefined;
  /** Under way, or interrupted. */
  readonly pending?: Pending | undefined;
  /** The same is not tried again for a while. */
  readonly failure?: Failure | undefined;
};

export type Pending = Installed & {
  readonly step: StepName;
  readonly since: string;
  /** Present if the handler is taken away. */
  readonly removes?: true | undefined;
  /** As the node's /proc shows it, so that others see whether it is still at work. */
  readonly process: InstallerProcess;
  /** The unit of containerd, in case it is stopped when the next run begins. */
  readonly unit?: string | undefined;
  /** Restarts of containerd so far. */
  readonly restarts: number;
};

export type Failure = {
  readonly generation: string;
  readonly step: string;
  readonly removes?: true | undefined;
  readonly reason?: string | undefined;
  readonly message: string;
  readonly at: string;
  /** Failures in a row, and the restarts of containerd that they cost. */
  readonly tries: number;
  readonly restarts: number;
};

const time = (value: unknown) => typeof value === 'string' && !Number.isNaN(Date.parse(value));

const FILE = matching(/^(?:\/(?!\.\.?(?:\/|$))[^/\0\n]+)+$/);

const GENERATION = matching(new RegExp(`^${GENERATIONS}/[\\w.+~-]{1,60}-[0-9a-f]{12}$`));

/** Its texts must be blocks of this program, so that it never claims another program's lines. */
export function isJournal(value: unknown, handler: string): value is Journal {
  const block = (name: string) => matching(new RegExp(`^\\n?# BEGIN ${name}: .*# END ${name}\\n$`, 's'));
  const escaped = handler.replaceAll('.', '\\.');
  const written = object<Written>({
    file: FILE,
    head: absentOr(block('gvisor-ready')),
    text: block(`gvisor-ready ${escaped}`),
  });
  const installed = { generation: GENERATION, written };
  const removes = absentOr(oneOf([true]));
  const pending = object<Pending>({
    ...installed,
    since: time,
    removes,
    restarts: count,
    step: oneOf(STEPS),
    process: object<InstallerProcess>({ pid: count, startTicks: count }),
    unit: absentOr(matching(/^[\w@.:\\-]+\.service$/)),
  });
  const failure = object<Failure>({
    generation: GENERATION,
    removes,
    at: time,
    tries: count,
    restarts: count,
    message: text,
    step: matching(/^[a-z-]+$/),
    reason: absentOr(matching(/^[A-Za-z]+$/)),
  });
  return object<Journal>({
    format: oneOf([1]),
    handler: oneOf([handler]),
    left: absentOr(GENERATION),
    installed: absentOr(object<Installed>(installed)),
    previous: absentOr(object<Installed>(installed)),
    staged: absentOr(list(GENERATION)),
    pending: absentOr(pending),
    failure: absentOr(failure),
  })(value);
}
