import { existsSync, readdirSync } from 'node:fs';
import { UsageError } from '../../hack/run.ts';

/** One directory for each cluster of this machine. */
export const CLUSTERS = '/var/lib/gvisor-ready/clusters';

/** Running or not. */
export function clusterNames(): string[] {
  return existsSync(CLUSTERS) ? readdirSync(CLUSTERS) : [];
}

/** Throws a UsageError for an invalid name. */
export function requireName(name: string): void {
  if (/^[a-z0-9-]{1,20}$/.test(name)) return;
  throw new UsageError(
    `"${name}" is no name for a cluster: use 1 to 20 lower-case letters, digits and hyphens.`,
  );
}
