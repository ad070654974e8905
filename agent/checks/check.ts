import { posix } from 'node:path';
import type { CheckResult } from '../../lib/checks/finding.ts';
import type { CriClient } from '../../lib/containerd/client.ts';
import { ASSUMED, type HandlerRuntime, optionOf, readContainerdConfig } from '../../lib/containerd/config.ts';
import type { Host } from '../../lib/host/host.ts';
import type { Witness } from '../../lib/proof/witness.ts';
import { DEFAULT_RUNSC_CONFIG, readRunscConfig } from '../../lib/runsc/config.ts';
import {
  findProgram,
  isRuncType,
  PROGRAM_DIRECTORIES,
  type RunscPrograms,
  shimOf,
} from '../../lib/runsc/program.ts';
import type { BaseSpecs } from '../runsc/base-spec.ts';

export type Sources = {
  readonly host: Host;
  readonly cri: Pick<CriClient, 'socket' | 'status' | 'shimInfo' | 'answersLate'>;
  readonly handler: string;
  /** Host path of containerd's root configuration file. */
  readonly containerdConfig: string;
  /** Where to add a handler, as advice for people. */
  readonly edit: string;
  readonly programs: RunscPrograms;
  readonly baseSpecs: BaseSpecs;
  /** Such as "20240325.0"; absent without a floor. */
  readonly minRunscRelease?: string | undefined;
  readonly requireLimits: boolean;
  /** Whether passing on weakening annotations makes the node not ready. */
  readonly forbidFlagOverride: boolean;
  /** Last run by containerd; absent before the first proof. */
  readonly shim?: string | undefined;
};

/** Each input is read once, on first use, so that all checks judge the same state. Failures are cached too. */
export class CheckInputs {
  readonly sources: Sources;
  readonly directories: readonly string[];

  readonly status;
  readonly config;
  /** As loaded, else as on disk, else gVisor's usual one. */
  readonly runtime;
  readonly shimInfo;
  /** Links not resolved; undefined if it is in none of the directories. */
  readonly shim;
  readonly runscConfig;
  /** The base spec that containerd has loaded for the handler; undefined if that is not known. Rejects without one. */
  readonly baseSpec;
  /** Found as the shim finds it; undefined if it is in none of the directories. */
  readonly runsc;
  /** As first read in this evaluation. */
  readonly programs;
  /** As they are now. Not cached. */
  readonly currentPrograms;

  constructor(sources: Sources, signal: AbortSignal) {
    const { cri, handler, containerdConfig, shim } = sources;
    // The checks read many files of few directories.
    const host = sources.host.glance();
    this.sources = { ...sources, host };
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
    this.baseSpec = once(async () =>
      sources.baseSpecs.loaded(host, (await this.runtime()).baseRuntimeSpec, cri.socket),
    );
    this.runsc = once(async () => findProgram(host, this.directories, (await this.runscConfig()).binaryName));
    this.currentPrograms = async () => {
      const runsc = await this.runsc();
      return runsc === undefined ? [] : sources.programs.readAll(sources.host, runsc);
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

/** `id` is the file's name, and `title` says when it passes. */
export type Check = {
  readonly id: string;
  readonly title: string;
  /**
   * Throws if it cannot see its subject, which makes the finding unknown. `witness` is of this evaluation's
   * proof, absent before it and after a failed one.
   */
  readonly inspect: (inputs: CheckInputs, witness: Witness | undefined) => Promise<CheckResult>;
  /** Whether an unknown finding keeps the node not ready, because a booted sandbox proves nothing about it. */
  readonly required?: (sources: Sources) => boolean;
};
