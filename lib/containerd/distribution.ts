import timers from 'node:timers/promises';
import { TimeoutError } from '../base/async.ts';
import type { Host } from '../host/host.ts';
import { readProcess } from '../host/process.ts';
import type { CriClient } from './client.ts';
import DISTRIBUTIONS from './distributions.json' with { type: 'json' };

/** How a distribution sets up containerd. Paths are the host's. */
export type Distribution = {
  readonly name: string;
  readonly containerdConfig: string;
  readonly criSocket: string;
  /** Where people should add a handler; some distributions overwrite the file itself. */
  readonly edit: string;
};

/** Of containerd's own packages. */
const PLAIN: Distribution = DISTRIBUTIONS.plain;

/** For a disk that is slow while the node boots. */
const MAX_RETRIES = 12;
const RETRY_PAUSE_MS = 5_000;

/**
 * Plain containerd if nothing matches. The agent keeps the CRI socket for life, so timeouts are retried for a
 * minute, then rejected. Unreadable files count as absent; the proof notices a wrong socket.
 */
export async function readDistribution(host: Host, pauseMs = RETRY_PAUSE_MS): Promise<Distribution> {
  let retries = MAX_RETRIES;
  const retry = async <T>(read: () => Promise<T>): Promise<T | undefined> => {
    for (;;) {
      try {
        return await read();
      } catch (error) {
        if (!(error instanceof TimeoutError)) return undefined;
        if (retries-- <= 0) throw error;
        await timers.setTimeout(pauseMs);
      }
    }
  };
  const isThere = async (path: string) => (await retry(() => host.stat(path))) !== undefined;
  // https://www.freedesktop.org/software/systemd/man/os-release.html
  const release = (await retry(() => host.readText('/etc/os-release'))) ?? '';
  const os = /^ID=["']?([^"'\n]*)["']?\s*$/m.exec(release)?.[1];
  // A mark is an existing path, or an ID of /etc/os-release. The more specific come first.
  for (const { marks, ...distribution } of DISTRIBUTIONS.marked) {
    const matches = await Promise.all(
      marks.map((mark) => (mark.startsWith('/') ? isThere(mark) : mark === os)),
    );
    if (!matches.includes(true)) continue;
    // CRI-O may be installed beside a containerd that is in use.
    if (distribution.name === 'CRI-O' && (await isThere(PLAIN.criSocket))) continue;
    return distribution;
  }
  return PLAIN;
}

/** `named` is the path from the settings. */
export type ConfigPathSources = {
  readonly host: Host;
  readonly client: Pick<CriClient, 'serverPid'>;
  readonly distribution: Distribution;
  readonly named: string | undefined;
};

/** "-c x", "-c=x", "--config x" or "--config=x", NUL-separated. */
const CONFIG_FLAG = /\0(?:-c|--config)[=\0]([^\0]*)/;

/**
 * Resolves the root configuration file: from the settings, containerd's command line (Flatcar, k3s), or the
 * distribution. Cached once containerd has reported its PID.
 */
export function rememberConfigPath(sources: ConfigPathSources): () => Promise<string> {
  let known = sources.named;
  return async () => {
    if (known !== undefined) return known;
    const argv = await readArguments(sources).catch(() => undefined);
    if (argv === undefined) return sources.distribution.containerdConfig;
    const [, flag] = CONFIG_FLAG.exec(argv.join('\0')) ?? [];
    known = flag?.startsWith('/') ? flag : sources.distribution.containerdConfig;
    return known;
  };
}

/**
 * The PID is containerd's own report, and must not be in a nested PID namespace, so that no pod can pose as
 * containerd. Flags: https://github.com/containerd/containerd/blob/v2.4.2/cmd/containerd/command/main.go
 */
async function readArguments({ host, client }: ConfigPathSources): Promise<readonly string[] | undefined> {
  const pid = await client.serverPid();
  const process = pid > 0 ? await readProcess(host, pid) : undefined;
  return process?.namespacedPids.join() === String(pid) ? process.argv : undefined;
}
