import type { Node } from '../base/node.ts';
import type { Edit } from '../config/edits.ts';
import type { ContainerdProcess } from '../containerd/find.ts';
import type { Installed, Journal, Written } from '../journal/schema.ts';
import { type Generation, generationAt } from '../release/generation.ts';
import type { Release } from '../release/release.ts';

/** What a handler is to run after the run, and what is known before it. */
export type Goal = {
  readonly containerd: ContainerdProcess;
  /** The handler's journal before the run. */
  readonly journal: Journal | undefined;
  /** Undefined takes the handler away. */
  readonly target: Installed | undefined;
  /** What makes the target's generation; without it, the generation is there. */
  readonly source?: Source;
  /** The file whose table of handlers counts. */
  readonly main?: string;
  /** The generation that a person leaves for good. */
  readonly leaves?: string | undefined;
};

export type Source = {
  readonly directory: string;
  readonly release: Release;
  /** Flags of runsc, without dashes. */
  readonly flags: ReadonlyMap<string, string>;
};

/** One way to the goal: what the steps know, and what they have done so far. */
export type Run = Goal & {
  readonly node: Node;
  /** The handler's texts that may be in containerd's files. */
  readonly texts: readonly Written[];
  /** Counts a restart of containerd in the journal, before it begins. */
  readonly recordRestart: () => Promise<void>;
  /** What containerd has to have loaded in the end. */
  wanted: Generation | undefined;
  edits: readonly Edit[];
  isWritten: boolean;
  isRestarted: boolean;
  /** Whether undoing has changed anything. */
  isTouched: boolean;
  /** Pods that the restart ended. */
  lost: readonly string[];
};

export function createRun(node: Node, goal: Goal, recordRestart: Run['recordRestart']): Run {
  const { journal, target } = goal;
  const wasInterrupted = journal?.pending !== undefined; // so that both may have been done
  return {
    ...goal,
    node,
    texts: textsOf(journal, target),
    recordRestart,
    wanted: target && generationAt(target.generation),
    edits: [],
    isWritten: wasInterrupted,
    isRestarted: wasInterrupted,
    isTouched: false,
    lost: [],
  };
}

/** Returns the texts of this run, of an interrupted one, and of the last commit: each may be in containerd's files. */
export function textsOf(journal: Journal | undefined, target: Installed | undefined): readonly Written[] {
  return [target, journal?.pending, journal?.installed].flatMap((each) => each?.written ?? []);
}
