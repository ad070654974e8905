import type { Node } from '../base/node.ts';
import { pass, skipped } from '../base/progress.ts';
import { readSection } from '../config/handler-config.ts';
import { handlerTable } from '../config/own-text.ts';
import { readJournal, writeJournal } from '../journal/journal.ts';
import { cgroupDriver } from '../preflight/preflight.ts';
import { copyRelease } from '../release/copy.ts';
import { generationOf } from '../release/generation.ts';
import { readRelease } from '../release/release.ts';
import { flagsFor } from './plan.ts';

/**
 * Copies the programs, and prints the handler's table, for systems that render the configuration themselves.
 * The programs stay until the handler is removed.
 */
export async function stageOnly(
  { root, host, client, handler, containerdConfig, report }: Node,
  source: string,
  given: ReadonlyMap<string, string>,
): Promise<void> {
  const release = await readRelease(source);
  const status = await client.status().catch(() => undefined);
  if (status === undefined && !given.has('systemd-cgroup')) {
    const next = 'if the kubelet has the systemd driver, give --flag systemd-cgroup=true';
    report({
      step: 'check',
      ...skipped(`containerd does not respond, so its cgroup driver is not known: ${next}`),
    });
  }
  const flags = flagsFor(status && (await cgroupDriver(client, status)), given);
  const generation = generationOf(release, flags);
  const { directory } = generation;
  const journal = (await readJournal(root, handler)) ?? { format: 1, handler };
  const staged = [...new Set([...(journal.staged ?? []), directory])];
  await writeJournal(root, { ...journal, staged });
  await copyRelease(source, release, { root, generation, flags });
  const section = await readSection(host, containerdConfig, status?.runtimeVersion);
  const verbatim = handlerTable(section, handler, generation).join('\n');
  report({ step: 'stage', ...pass(`${directory}, which this table names:`), verbatim });
}
