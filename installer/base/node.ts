import type { CriClient } from '../../lib/containerd/client.ts';
import type { Distribution } from '../../lib/containerd/distribution.ts';
import type { Host } from '../../lib/host/host.ts';

/** The node as the installer works on it. */
export type Node = {
  /** "/" on the node itself. */
  readonly root: string;
  readonly host: Host;
  readonly client: CriClient;
  readonly distribution: Distribution;
  /** Host path of containerd's root configuration file. */
  readonly containerdConfig: string;
  readonly handler: string;
  /** For the host's shell, on hosts without systemd. */
  readonly restartCommand: string | undefined;
  /** For machine images. */
  readonly noRestart: boolean;
  readonly report: (progress: Progress) => void;
  /** Says what is waited for, and in which step if that is another one. */
  readonly because: (cause: string, step?: Progress['step']) => void;
};

/** The steps of an installation, in their order. */
export const STEPS = [
  'check',
  'stage',
  'pre-prove',
  'validate',
  'quiet',
  'write',
  'restart',
  'prove',
] as const;
export type Step = (typeof STEPS)[number];

type Seen = {
  /** It ends in a line break if it quotes lines. */
  readonly what: string;
  /** What a person does about it. */
  readonly next?: string | undefined;
  /** One of the agent's, if one names the cause. */
  readonly reason?: string | undefined;
  readonly cause?: unknown;
};

/** The message says what was seen and what to do next. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly step: Step | 'release' | 'journal';
  readonly what: string;
  readonly next: string | undefined;
  readonly reason: string | undefined;

  constructor(step: Refusal['step'], { what, next, reason, cause }: Seen) {
    const told = what.endsWith('\n') ? what : `${what}. `;
    super(next === undefined ? what : `${told}${next}`, { cause });
    this.step = step;
    this.what = what;
    this.next = next;
    this.reason = reason;
  }
}

/** A step that is done, was not needed, failed, or goes on (`unknown`). */
export type Progress = {
  readonly step: Step | 'commit' | 'undo';
  readonly state: 'pass' | 'skipped' | 'fail' | 'unknown';
  readonly text: string;
  /** For people to copy. */
  readonly verbatim?: string;
};

const LINE_MS = 15_000;

/** Prints every 15 s the step, and what it waits for. */
export function patientReport(
  report: Node['report'],
): Disposable & Readonly<Pick<Node, 'report' | 'because'>> {
  let [step, cause, sinceMs]: [Progress['step'], string, number] = ['check', 'no answer yet', 0];
  const because: Node['because'] = (next, of = step) => {
    if (of !== step) sinceMs = performance.now();
    [step, cause] = [of, next];
  };
  const timer = setInterval(() => {
    const text = `goes on since ${Math.round((performance.now() - sinceMs) / 1_000)} s: ${cause}`;
    report({ step, state: 'unknown', text });
  }, LINE_MS);
  return { report, because, [Symbol.dispose]: () => clearInterval(timer) };
}

/** A step's own words. */
export type Line = Pick<Progress, 'state' | 'text'>;

/**
 * `undo` makes it as it was before the change, however far `do` came, and resolves with whether there was
 * anything to undo.
 */
export type StepOf = {
  readonly name: Step;
  readonly do: () => Promise<Line | undefined>;
  readonly undo?: () => Promise<boolean>;
};

export const pass = (text: string): Line => ({ state: 'pass', text });
export const skipped = (text: string): Line => ({ state: 'skipped', text });
