import type { Finding } from '../checks/finding.ts';
import type { Installation } from '../host/installation.ts';
import type { Facts } from '../host/system.ts';
import type { PodCounts, PodsReport } from '../pods/pod.ts';
import type { Outcome } from '../proof/outcome.ts';
import type { SandboxesReport } from '../sandboxes/problem.ts';
import type { NodeWrites } from './node-object.ts';
import type { Verdict } from './verdict.ts';

export type Transition = Verdict & { readonly at: string };

/** The result of an evaluation, as publishers receive it; times are ISO 8601. */
export type Report = {
  readonly version: string;
  readonly node: string;
  readonly handler: string;
  readonly verdict: Verdict;
  /** Whether the node should run gVisor with this handler; absent if that is not known. */
  readonly expected?: boolean;
  /** The latest evaluation on its own, whose verdict may not be published yet. */
  readonly evaluation: {
    readonly verdict: Verdict;
    readonly at: string;
    readonly trigger: string;
    readonly durationMs: number;
  };
  readonly findings: readonly Finding[];
  readonly proof: Outcome;
  /** Time of the last new proof. */
  readonly provenAt?: string;
  readonly facts: Facts;
  /** Latest transitions, newest first. */
  readonly history: readonly Transition[];
  /** Absent if the installer was never used. */
  readonly installation?: Installation;
};

export type HandlerReport = Omit<Report, 'version' | 'node' | 'installation'>;

/** The document of /report: a report, and the state of pods, sandboxes and Node when it is requested. */
export type Status = Report & {
  /** Absent without additional handlers, and until one has been evaluated. */
  readonly handlers?: readonly HandlerReport[] | undefined;
  /** Absent until pods have been read. */
  readonly pods?: PodsReport | undefined;
  /** In place of `pods` if the reader may not know other tenants' pods. */
  readonly podCounts?: PodCounts | undefined;
  /** Absent until sandboxes have been scanned. */
  readonly sandboxes?: SandboxesReport | undefined;
  /** Absent if the agent writes to no Node. */
  readonly nodeWrites?: NodeWrites | undefined;
};

/** The part of a report that additional handlers have; nothing without them. */
export function handlersOf(reports: readonly Report[]): Pick<Status, 'handlers'> {
  const handlers = reports.map(({ version: _, node: __, installation: ___, ...own }) => own);
  return handlers.length === 0 ? {} : { handlers };
}
