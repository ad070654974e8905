import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { CriClient } from '../../lib/containerd/client.ts';
import { Refusal } from '../base/refusal.ts';

export type ContainerdProcess = {
  readonly pid: number;
  /** Host path of its program, where another file may be now. */
  readonly program: string;
  /** As it was started, such as a link to the program, or only a name. */
  readonly command: string;
  readonly unit: string | undefined;
};

/** Finds the containerd behind the socket. */
export async function findContainerd(root: string, client: CriClient): Promise<ContainerdProcess> {
  const pid = await client.serverPid();
  const program = await readlink(join(root, `/proc/${pid}/exe`)).catch((cause: NodeJS.ErrnoException) => {
    throw new Refusal('check', {
      what: `Cannot see containerd's process ${pid} (${cause.code})`,
      next: 'Run the installer as root, with the PID namespace of the host',
      cause,
    });
  });
  const [cgroup, cmdline] = await Promise.all(
    ['cgroup', 'cmdline'].map((file) => readFile(join(root, `/proc/${pid}/${file}`), 'utf8')),
  );
  const [command = ''] = cmdline?.split('\0') ?? [];
  // As in "0::/system.slice/containerd.service".
  const unit = /^(?:0:|\d+:name=systemd):.*\/([^/\n]+\.service)$/m.exec(cgroup ?? '')?.[1];
  return { pid, program: program.replace(/ \(deleted\)$/, ''), command, unit };
}
