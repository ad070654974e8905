import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { TomlTable } from '../../lib/containerd/toml.ts';
import { runOnHost } from '../base/host-command.ts';
import type { Node } from '../base/node.ts';
import { skipped } from '../base/progress.ts';
import { Refusal } from '../base/refusal.ts';
import { criSectionIn, defaultHandlerIn } from '../config/handler-config.ts';
import { dumpConfig } from '../containerd/dump.ts';
import { type ContainerdProcess, findContainerd } from '../containerd/find.ts';
import { pendingSettings, readLoaded } from '../containerd/settings.ts';

/**
 * Throws a {@link Refusal} if a restart would end pods, or start anything but what runs now with a change of
 * this program's handlers. It is asked at first, so that nobody waits in vain, and again just before the restart.
 */
export async function refuseRisks(node: Node): Promise<void> {
  const containerd = await findContainerd(node.root, node.client);
  await refuseOtherProgram(node, containerd);
  await refuseUnit(node, containerd);
  await refuseOtherSettings(node, containerd);
}

/** All pods without a RuntimeClass use the default handler, also those that bring the network. */
export function refuseDefault(handler: string, dump: TomlTable): void {
  if (handler !== 'runc' && handler !== defaultHandlerIn(dump)) return;
  throw new Refusal('check', {
    what: `"${handler}" is the handler of pods without a RuntimeClass`,
    next: 'Give another --handler, or set default_runtime_name to runc and restart containerd',
  });
}

/** A package may have been upgraded under the running containerd: nobody has seen how the new one starts. */
async function refuseOtherProgram({ root, host }: Node, containerd: ContainerdProcess): Promise<void> {
  const { pid, program, command } = containerd;
  const running = await stat(join(root, `/proc/${pid}/exe`));
  for (const path of [program, command]) {
    const local = path.startsWith('/') ? await host.localPath(path) : undefined;
    const next = local && (await stat(local).catch(() => undefined));
    // A command may be seen by containerd alone, or was never a path.
    if (next === undefined && path !== program) continue;
    if (next && next.dev === running.dev && next.ino === running.ino) continue;
    refuseChange(`The program of containerd, "${path}", was replaced or deleted since containerd started`);
  }
}

/**
 * Units that systemd restarts with another one. Source:
 * https://www.freedesktop.org/software/systemd/man/latest/systemd.unit.html (Requires=, BindsTo=, PartOf=)
 */
const TIES = ['RequiredBy', 'BoundBy', 'ConsistsOf'] as const;

/** Shims are processes of containerd's unit, and systemd has to leave them alone. */
async function refuseUnit(
  { root, restartCommand, report }: Node,
  { unit }: ContainerdProcess,
): Promise<void> {
  if (unit === undefined || restartCommand !== undefined) return;
  const text = await runOnHost(root, ['systemctl', 'show', `--property=KillMode,${TIES.join()}`, unit]);
  const shown = (key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(text)?.[1] ?? '';
  const tied = TIES.flatMap((tie) => shown(tie).split(' ').filter(Boolean));
  const also = `a restart of "${unit}" also restarts ${[...new Set(tied)].join(', ')}`;
  if (tied.length > 0) report({ step: 'check', ...skipped(also) });
  const mode = shown('KillMode');
  if (mode === 'process' || mode === 'none') return;
  throw new Refusal('check', {
    what: `A restart of "${unit}" would end every pod of the node: its KillMode is "${mode}"`,
    next: 'Set KillMode=process there, and run systemctl daemon-reload',
  });
}

/** Somebody's edit may wait for the next start, whatever the time of its file. */
async function refuseOtherSettings(node: Node, containerd: ContainerdProcess): Promise<void> {
  const dump = await dumpConfig(node, containerd, node.containerdConfig);
  const loaded = await readLoaded(node.client);
  const pending = pendingSettings(loaded, criSectionIn(dump) ?? new Map(), node.handler);
  if (pending.length === 0) return;
  const named = pending.slice(0, 5).join(', ');
  refuseChange(`"${node.containerdConfig}", or what it imports, has changes that are not loaded: ${named}`);
}

function refuseChange(change: string): never {
  throw new Refusal('check', {
    what: `${change}: a restart would load more than the handler of gVisor`,
    next: 'Take that back, or restart containerd yourself when it suits the change, and run this again',
  });
}
