import { createHash } from 'node:crypto';
import type { Config } from '../config.ts';

/**
 * The agent's version with a digest of the settings that a verdict depends on, such as "0.1.0+1f3c9a20": two agents
 * with the same fingerprint judge a node alike.
 */
export function fingerprintOf(version: string, config: Config): string {
  const { handler, hostRoot, criSocket, containerdConfig, minRunscRelease } = config;
  const { requireLimits, forbidFlagOverride } = config;
  const places = [handler, hostRoot, criSocket, containerdConfig];
  const settings = [...places, minRunscRelease, requireLimits, forbidFlagOverride];
  const digest = createHash('sha256').update(JSON.stringify(settings)).digest('hex');
  return `${version}+${digest.slice(0, 8)}`;
}
