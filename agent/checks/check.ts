import { posix } from 'node:path';
import type { CriClient } from '../containerd/client.ts';
import { ASSUMED, type HandlerRuntime, optionOf, readContainerdConfig } from '../containerd/config.ts';
import type { CheckResult } from '../finding.ts';
import type { Host } from '../host/host.ts';
import type { Witness } from '../proof/witness.ts';
import { DEFAULT_RUNSC_CONFIG, readRunscConfig } from '../runsc/config.ts';
import type { RunscPrograms } from '../runsc/program.ts';
import { FOLDERS, findProgram, isRuncType, shimOf } from '../runsc/program.ts';

/** What a look reads: the node's files, its containerd, and what the settings ask for. */
export type Sources = {
  readonly host: Host;
  /** The questions to the running containerd; each rejects with a CriError when it does not answer in time. */
  readonly cri: Pick<CriClient, 'socket' | 'status' | 'shimInfo'>;
  readonly handler: string;
  /** Host path of containerd's root configuration file. */
  readonly containerdConfig: string;
  /** Where a person adds a handler on this distribution, in words. */
  readonly edit: string;
  readonly programs: RunscPrograms;
  /** Lowest gVisor release allowed, such as "20240325.0"; absent when there is no floor. */
  readonly minRunscRelease?: string | undefined;
  /** Whether limits that are not enforced make the node not ready. */
  readonly requireLimits: boolean;
  /** Whether a handler that passes on annotations with which pods weaken their sandbox makes the node not ready. */
  readonly forbidFlagOverride: boolean;
  /** The shim that containerd was last seen to run; absent before the first proof. */
  readonly shim?: string | undefined;
};

/**
 * What one look reads of a handler, each thing once, when the first check asks for it: so all checks speak of the same
 * answer. A question that was refused is refused again; none is asked of a containerd that has left one unanswered.
 */
export class CheckInputs {
  readonly sources: Sources;
  /** Where programs are looked for. */
  readonly folders: readonly string[];

  /** What the running containerd says of itself and of its handlers. */
  readonly status;
  /** What a containerd that starts now would make of its files; by the rules of their own version where none answers. */
  readonly config;
  /** The handler that pods get: as loaded, else as configured on disk, else gVisor's usual one. */
  readonly runtime;
  /** What containerd answers when it resolves and executes the handler's shim. */
  readonly shimInfo;
  /** Where the handler's shim is, symbolic links not followed; undefined where it is in none of the folders. */
  readonly shim;
  /** The file that the handler's ConfigPath names, as gVisor's shim reads it. */
  readonly runscConfig;
  /** Where runsc is, as the shim finds it by binary_name; undefined where it is in none of the folders. */
  readonly runsc;
  /** What lies at runsc and beside it that may be the program of a sandbox, as this look saw it first, */
  readonly programs;
  /** and as it is now. */
  readonly programsNow;

  /** `signal` ends the questions to containerd. */
  constructor(sources: Sources, signal: AbortSignal) {
    const { host, cri, handler, containerdConfig, shim } = sources;
    this.sources = sources;
    // Last: a shim's process names the folder of a release that an upgrade may have left behind.
    this.folders = [...new Set([...FOLDERS, ...(shim === undefined ? [] : [posix.dirname(shim)])])];
    this.status = once(() => cri.status(signal));
    const answer = () => this.status().catch(() => undefined);
    this.config = once(async () =>
      readContainerdConfig(host, containerdConfig, (await answer())?.runtimeVersion),
    );
    this.runtime = once(async (): Promise<HandlerRuntime> => {
      const loaded = (await answer())?.runtimes.get(handler);
      if (loaded) return { ...loaded, seen: 'loaded' };
      const configured = (await this.config()).runtimes.get(handler);
      return configured ? { ...configured, seen: 'disk' } : ASSUMED;
    });
    this.shimInfo = once(async () => {
      const { runtimePath, runtimeType } = await this.runtime();
      await this.status();
      return cri.shimInfo(runtimePath || runtimeType, signal);
    });
    this.shim = once(async () => {
      const wanted = shimOf(await this.runtime());
      return wanted === undefined ? undefined : findProgram(host, this.folders, wanted);
    });
    this.runscConfig = once(async () => {
      const runtime = await this.runtime();
      const path = isRuncType(runtime.runtimeType) ? '' : optionOf(runtime, 'ConfigPath');
      return path === '' ? DEFAULT_RUNSC_CONFIG : readRunscConfig(host, path);
    });
    this.runsc = once(async () => findProgram(host, this.folders, (await this.runscConfig()).binaryName));
    this.programsNow = async () => {
      const runsc = await this.runsc();
      return runsc === undefined ? [] : sources.programs.readAll(host, runsc);
    };
    this.programs = once(this.programsNow);
  }
}

function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => {
    answer ??= ask();
    return answer;
  };
}

/**
 * One question about the node. `inspect` returns what it saw, or throws when it could not look; the runner turns a
 * throw into an unknown finding. The witness is what the proof of this look showed; absent while it has not been made,
 * or where it failed. `id` is the name of the file.
 */
export type Check = {
  readonly id: string;
  readonly title: string;
  readonly inspect: (reading: CheckInputs, witness: Witness | undefined) => Promise<CheckResult>;
  /** Whether a node is ready only if this check could look, because a sandbox does not reveal what it looks for. */
  readonly required?: (sources: Sources) => boolean;
};
