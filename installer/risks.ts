import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CriStatus } from '../lib/node/containerd/client.ts';
import type { ContainerdConfig } from '../lib/node/containerd/config.ts';
import type { TomlTable } from '../lib/node/containerd/toml.ts';
import { parseProcessStat } from '../lib/node/host/process.ts';
import { TICKS_PER_SECOND } from '../lib/node/sandboxes/processes.ts';
import { type ContainerdProcess, runOnHost } from './containerd.ts';
import { contentOf, isOwnText } from './edits.ts';
import { defaultHandlerIn } from './handler-config.ts';
import { type Node, Refusal } from './node.ts';
import { isGenerationPath } from './release.ts';

export type Present = {
  readonly containerd: ContainerdProcess;
  readonly status: CriStatus;
  readonly config: ContainerdConfig;
  /** As containerd reads the present configuration. */
  readonly dump: TomlTable;
};

/** Throws a {@link Refusal} if a restart would end pods, or load more than the handler. */
export async function refuseRisks(node: Node, present: Present): Promise<void> {
  refuseDefault(node.handler, present.dump);
  await refuseUnit(node, present.containerd);
  refuseOtherHandlers(node, present);
  await refuseYoungFiles(node, present);
}

/** All pods without a RuntimeClass use the default handler, also those that bring the network. */
export function refuseDefault(handler: string, dump: TomlTable): void {
  if (handler !== 'runc' && handler !== defaultHandlerIn(dump)) return;
  const next = 'Give another --handler, or set default_runtime_name to runc and restart containerd';
  throw new Refusal('check', `"${handler}" is the handler of pods without a RuntimeClass. ${next}`);
}

/** Shims are processes of containerd's unit, and systemd has to leave them alone. */
async function refuseUnit({ root, restartCommand }: Node, { unit }: ContainerdProcess): Promise<void> {
  if (unit === undefined || restartCommand !== undefined) return;
  const text = await runOnHost(root, ['systemctl', 'show', '--property=KillMode', unit]);
  const mode = /^KillMode=(.*)$/m.exec(text)?.[1] ?? '';
  if (mode === 'process' || mode === 'none') return;
  const what = `A restart of "${unit}" would end every pod of the node: its KillMode is "${mode}"`;
  throw new Refusal('check', `${what}. Set KillMode=process there, and run systemctl daemon-reload`);
}

/** A restart loads the handlers of the files and forgets others, whoever changed them. */
function refuseOtherHandlers({ handler, containerdConfig }: Node, { status, config }: Present): void {
  const isOther = (name: string, path = '') => name !== handler && !isGenerationPath(path);
  for (const [name, { runtimeType, runtimePath, file = containerdConfig }] of config.runtimes) {
    const loaded = status.runtimes.get(name);
    if (loaded?.runtimeType === runtimeType && loaded.runtimePath === runtimePath) continue;
    if (isOther(name, runtimePath))
      refuseChange(`"${file}" has a handler "${name}" that containerd has not loaded`);
  }
  for (const [name, { runtimePath }] of status.runtimes) {
    // containerd 1.x names handlers of deprecated settings like this.
    const isKnown = config.runtimes.has(name) || ['default', 'untrusted'].includes(name);
    if (!isKnown && isOther(name, runtimePath))
      refuseChange(`containerd has loaded a handler "${name}" that "${containerdConfig}" does not have`);
  }
}

/** containerd reads its files a moment after it started, and clocks are coarse. */
const SLACK_MS = 1_000;

async function refuseYoungFiles({ root, host }: Node, { containerd, config }: Present): Promise<void> {
  const [uptime, ticks] = await Promise.all([
    host.readText('/proc/uptime'),
    host.readText(`/proc/${containerd.pid}/stat`),
  ]);
  const upSeconds = Number.parseFloat(uptime ?? '');
  const ageSeconds = upSeconds - parseProcessStat(ticks ?? '').startTicks / TICKS_PER_SECOND;
  const startedMs = Date.now() - ageSeconds * 1_000;
  for (const file of config.files) {
    const local = await host.localPath(file);
    const { mtimeMs } = await stat(local ?? join(root, file));
    // The installer keeps this time in the files of others.
    if (mtimeMs < startedMs + SLACK_MS || isOwnText((await contentOf(root, file)) ?? '')) continue;
    refuseChange(`"${file}" was changed after containerd started, at ${new Date(mtimeMs).toISOString()}`);
  }
}

function refuseChange(what: string): never {
  const next = 'Take that back, or restart containerd yourself when it suits the change, and run this again';
  throw new Refusal('check', `${what}: a restart would load more than the handler of gVisor. ${next}`);
}
