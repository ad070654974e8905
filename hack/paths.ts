import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the repository. */
export const REPO = dirname(dirname(fileURLToPath(import.meta.url)));

/** Built tools and images; safe to delete. */
export const CACHE =
  process.env.GVISOR_READY_CACHE ??
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'gvisor-ready');
