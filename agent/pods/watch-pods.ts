import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import type { CriClient } from '../cri/client.ts';
import { errorLine } from '../host/error-line.ts';
import type { Bell } from '../trigger/bell.ts';
import type { Pod } from './pod.ts';
import type { PodReader } from './read-pods.ts';

/** The pods of this node, and those of them that must run in gVisor and do not. */
export type PodsSeen = { readonly pods: readonly Pod[]; readonly unsandboxed: readonly Pod[] };

/** What a watch of pods is made of. */
export type WatchPodsOptions = {
  readonly reader: PodReader;
  /** Rung when pods may have changed. */
  readonly bell: Bell<string>;
  /** The namespaces whose pods must run in gVisor. */
  readonly required: () => ReadonlySet<string>;
  readonly publish: (seen: PodsSeen) => void;
  readonly log: Logger;
};

/** How often pods are read when no event reports them, in milliseconds. */
const READ_MS = 3_000;

/** Reads the pods again and again, at each ring and every 3 s, until the signal ends it. */
export async function watchPods(options: WatchPodsOptions, signal: AbortSignal): Promise<void> {
  const { reader, bell, required, publish, log } = options;
  let problem = '';
  while (!signal.aborted) {
    try {
      const pods = await reader.read(signal);
      const names = required();
      publish({
        pods,
        unsandboxed: pods.filter(({ namespace, sandboxed }) => sandboxed === false && names.has(namespace)),
      });
      problem = '';
    } catch (error) {
      if (signal.aborted) return;
      const line = errorLine(error);
      if (line !== problem) log.warn(`cannot read the pods of this node: ${line}`);
      problem = line;
    }
    await bell.wait(READ_MS, signal).catch(() => {});
  }
}

const AGAIN_MS = 10_000;

/**
 * Rings when containerd reports a new or removed container. It does not subscribe to containerd 1.x, which gives each
 * event to a single listener: the kubelet may be one.
 * Source: https://github.com/containerd/containerd/blob/v1.7.34/pkg/cri/server/container_events.go
 */
export async function hearContainers(
  client: CriClient,
  bell: Bell<string>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const { runtimeVersion } = await client.version({ signal });
      if (!/^v?1\./.test(runtimeVersion)) {
        for await (const _ of client.containerEvents(signal)) bell.ring('container');
      }
    } catch {
      // The pods are read every few seconds all the same.
    }
    await timers.setTimeout(AGAIN_MS, undefined, { signal }).catch(() => {});
  }
}
