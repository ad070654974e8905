import type { Logger } from 'pino';
import type { Finding } from '../lib/checks/finding.ts';
import type { Installation } from '../lib/host/installation.ts';
import type { Report, Transition } from '../lib/report/report.ts';
import { published, STARTING, type Verdict } from '../lib/report/verdict.ts';
import { expectsGvisor } from './expected.ts';
import type { NodeSeen, Said } from './publish/desired.ts';

/** The report on an evaluation, as far as the evaluation alone determines it; without a verdict until one is confirmed. */
export type Evaluated = Omit<Report, 'verdict' | 'history' | 'expected' | 'installation'> & {
  readonly verdict: Verdict | undefined;
};

/** Functions that take a report must not throw. */
export type AnnouncerOptions = {
  /** Whether gVisor is expected here whatever was seen. */
  readonly expectGvisor: boolean;
  /** Undefined if the findings do not say. */
  readonly traces: (findings: readonly Finding[]) => boolean | undefined;
  /** Called with every report. */
  readonly count: (report: Report) => void;
  /** Called with every report that has a verdict. */
  readonly show: (report: Report) => void;
  /** Called with a report that the Node does not know yet. */
  readonly write: (report: Report) => void;
  readonly log: Logger;
  readonly date: () => Date;
};

const MAX_HISTORY = 50;

/**
 * Says of a handler what its last evaluation found, under the circumstances of the moment: the installer's work, and what
 * the Node says. The Node, the metrics, the log and the report all say what this says.
 */
export class Announcer {
  readonly #options: AnnouncerOptions;
  #evaluated: Evaluated | undefined;
  #installation: Installation | undefined;
  #node: NodeSeen | undefined;
  #traces: boolean | undefined;
  #history: readonly Transition[] = [];
  #report: Report | undefined;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
  }

  /** Undefined before the first evaluation. */
  get report(): Report | undefined {
    return this.#report;
  }

  /** Announces an evaluation, and the installation that was seen before it began. */
  evaluated(evaluated: Evaluated, installation: Installation | undefined): void {
    this.#evaluated = evaluated;
    this.#traces = this.#options.traces(evaluated.findings) ?? this.#traces;
    this.installing(installation);
  }

  /** Announces the last evaluation anew, now that the installer has noted this. */
  installing(installation: Installation | undefined): void {
    this.#installation = installation;
    const report = this.#announce();
    if (report !== undefined && this.hasVerdict) this.#options.write(report);
  }

  /** Announces the last evaluation anew, now that the Node says this, and returns it for the Node. */
  say(node: NodeSeen): Said {
    this.#node = node;
    const report = this.#announce();
    return this.hasVerdict && report !== undefined
      ? { verdict: report.verdict, report }
      : { verdict: this.#under(STARTING) };
  }

  /** Until then the Node keeps what the predecessor has written. */
  get hasVerdict(): boolean {
    return this.#evaluated?.verdict !== undefined;
  }

  #under(verdict: Verdict): Verdict {
    return published(verdict, { ...this.#node, installation: this.#installation });
  }

  #announce(): Report | undefined {
    const evaluated = this.#evaluated;
    if (evaluated === undefined) return undefined;
    const { count, show, date, log, expectGvisor } = this.#options;
    const verdict = this.#under(evaluated.verdict ?? STARTING);
    const evaluation = { ...evaluated.evaluation, verdict: this.#under(evaluated.evaluation.verdict) };
    const provenOnce = evaluated.verdict?.status === 'True' || this.#node?.provenOnce;
    const expected = expectsGvisor({ always: expectGvisor, provenOnce, traces: this.#traces });
    const [last] = this.#history;
    if (this.hasVerdict && (verdict.status !== last?.status || verdict.reason !== last.reason)) {
      this.#history = [{ ...verdict, at: date().toISOString() }, ...this.#history].slice(0, MAX_HISTORY);
      const isFine = verdict.status === 'True' || expected === false;
      log[isFine ? 'info' : 'warn']({ ...verdict, trigger: evaluation.trigger }, 'verdict changed');
    }
    const report = {
      ...evaluated,
      verdict,
      evaluation,
      history: this.#history,
      ...(expected !== undefined && { expected }),
      ...(this.#installation && { installation: this.#installation }),
    };
    this.#report = report;
    count(report);
    if (this.hasVerdict) show(report);
    return report;
  }
}
