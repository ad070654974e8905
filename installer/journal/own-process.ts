import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseProcessStat } from '../../lib/host/process.ts';
import type { InstallerProcess } from './schema.ts';

/** The node's /proc has the PID that others see, also from another PID namespace. */
export async function readOwnProcess(root: string): Promise<InstallerProcess> {
  const stat = await readFile(join(root, '/proc/self/stat'), 'utf8');
  return { pid: Number.parseInt(stat, 10), startTicks: parseProcessStat(stat).startTicks };
}
