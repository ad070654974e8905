import { posix } from 'node:path';
import type { CriClient } from '../containerd/client.ts';
import { ASSUMED, type HandlerRuntime, optionOf, readContainerdConfig } from '../containerd/config.ts';
import type { Host } from '../host/host.ts';
import type { Witness } from '../proof/witness.ts';
import { DEFAULT_RUNSC_CONFIG, readRunscConfig } from '../runsc/config.ts';
import {
  findProgram,
  isRuncType,
  PROGRAM_DIRECTORIES,
  type RunscPrograms,
  shimOf,
} from '../runsc/program.ts';
import type { CheckResult } from './finding.ts';

export type Sources = {
  readonly host: Host;
  readonly cri: Pick<CriClient, 'socket' | 'status' | 'shimInfo'>;
  readonly handler: string;
  /** Host path of containerd's root configuration file. */
  readonly containerdConfig: string;
  /** Where to add a handler on this distribution, as advice for people. */
  readonly edit: string;
  readonly programs: RunscPrograms;
  /** Lowest allowed gVisor release, such as "20240325.0"; absent without a floor. */
  readonly minRunscRelease?: string | undefined;
  readonly requireLimits: boolean;
  /** Whether a handler that passes on weakening annotations makes the node not ready. */
  readonly forbidFlagOverride: boolean;
  /** The shim that containerd last ran; absent before the first proof. */
  readonly shim?: string | undefined;
};

/** All that some checks read. */
export type HostInputs = { readonly sources: Pick<Sources, 'host'> };

/**
 * The inputs of one evaluation's checks, each read once, on first use, so that all checks judge the same state. Failed
 * reads are cached too, and no further request goes to a containerd that did not respond to the first.
 */
export class CheckInputs {
  readonly sources: Sources;
  readonly directories: readonly string[];

  readonly status;
  readonly config;
  /** The handler's runtime: as loaded, else as configured on disk, else gVisor's usual one. */
  readonly runtime;
  /** containerd's own result of resolving and executing the handler's shim. */
  readonly shimInfo;
  /** Path of the handler's shim, symbolic links not resolved; undefined if it is in none of the directories. */
  readonly shim;
  readonly runscConfig;
  /** Path of runsc, found as the shim finds it; undefined if it is in none of the directories. */
  readonly runsc;
  /** runsc and its sentry, as first read in this evaluation. */
  readonly programs;
  /** runsc and its sentry as they are now. Not cached. */
  readonly currentPrograms;

  /** `signal` cancels requests to containerd. */
  constructor(sources: Sources, signal: AbortSignal) {
    const { host, cri, handler, containerdConfig, shim } = sources;
    this.sources = sources;
    // Last, because an upgrade may have left the old release's directory behind.
    this.directories = [
      ...new Set([...PROGRAM_DIRECTORIES, ...(shim === undefined ? [] : [posix.dirname(shim)])]),
    ];
    this.status = once(() => cri.status(signal));
    const statusIfAny = () => this.status().catch(() => undefined);
    this.config = once(async () =>
      readContainerdConfig(host, containerdConfig, (await statusIfAny())?.runtimeVersion),
    );
    this.runtime = once(async (): Promise<HandlerRuntime> => {
      const loaded = (await statusIfAny())?.runtimes.get(handler);
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
      const name = shimOf(await this.runtime());
      return name === undefined ? undefined : findProgram(host, this.directories, name);
    });
    this.runscConfig = once(async () => {
      const runtime = await this.runtime();
      const path = isRuncType(runtime.runtimeType) ? '' : optionOf(runtime, 'ConfigPath');
      return path === '' ? DEFAULT_RUNSC_CONFIG : readRunscConfig(host, path);
    });
    this.runsc = once(async () => findProgram(host, this.directories, (await this.runscConfig()).binaryName));
    this.currentPrograms = async () => {
      const runsc = await this.runsc();
      return runsc === undefined ? [] : sources.programs.readAll(host, runsc);
    };
    this.programs = once(this.currentPrograms);
  }
}

function once<T>(read: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    result ??= read();
    return result;
  };
}

/**
 * A check of one property of the node; `id` is its file's name. `inspect` throws when it cannot see its subject, which
 * makes the finding unknown. `witness` is the evidence of this evaluation's proof, absent before it and after a failed one.
 */
export type Check = {
  readonly id: string;
  readonly title: string;
  readonly inspect: (inputs: CheckInputs, witness: Witness | undefined) => Promise<CheckResult>;
  /** Whether an unknown finding keeps the node from being ready, because a booted sandbox proves nothing about it. */
  readonly required?: (sources: Sources) => boolean;
};
