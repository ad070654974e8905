import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { join } from 'node:path';
import { ensureTools } from '../tools.ts';
import { type Command, openRunning } from './command.ts';

/** `kubectl`: passes everything on, and the exit code back. */
export const kubectl: Command = {
  flags: '…',
  does: 'runs kubectl against the cluster, with all that follows',
  raw: true,
  run: async ({ name, args }) => {
    const cluster = await openRunning(name);
    const { kubernetes } = await ensureTools(['kubernetes']);
    const env = { ...process.env, KUBECONFIG: cluster.kubeconfig };
    process.on('SIGINT', () => {}); // kubectl gets it from the terminal too, and decides
    const child = spawn(join(kubernetes, 'kubectl'), args, { stdio: 'inherit', env });
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
  },
};
