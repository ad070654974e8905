import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the work tree. */
export const REPO = dirname(dirname(fileURLToPath(import.meta.url)));

/** Where built tools and images are kept between runs: outside the work tree, safe to delete. */
export const CACHE = join(
  process.env.GVISOR_READY_CACHE ??
    join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'gvisor-ready'),
);

/** Where the clusters of this machine live, one folder each. */
export const CLUSTERS = '/var/lib/gvisor-ready/clusters';
