import type { Node } from '../base/node.ts';
import { skipped } from '../base/progress.ts';
import { Refusal } from '../base/refusal.ts';
import { contentOf } from '../config/edits.ts';
import { markedBlock, unmarkedTable } from '../config/own-text.ts';
import { readJournals } from '../journal/journal.ts';
import type { Journal } from '../journal/schema.ts';
import { damagedFiles } from '../release/damage.ts';
import { generationAt, listGenerations } from '../release/generation.ts';
import { usersOf } from '../release/users.ts';

/** Throws a {@link Refusal} at the end if something is damaged or cannot be read. */
export async function status(node: Node): Promise<void> {
  const { root, client, report } = node;
  const { journals, broken } = await readJournals(root);
  for (const { message } of broken) report({ step: 'undo', state: 'fail', text: message });
  if (journals.length === 0 && broken.length === 0)
    report({ step: 'commit', ...skipped('nothing is installed by gvisor-ready-install') });
  for (const journal of journals) await reportJournal(journal, node);
  const running = await client.status().catch(() => undefined);
  const generations = await listGenerations(root);
  const all = await usersOf(root, generations);
  let faults = broken.length;
  for (const generation of generations) {
    const { directory } = generation;
    const damaged = await damagedFiles(root, generation);
    faults += damaged.length;
    const loaded = [...(running?.runtimes ?? [])].flatMap(([name, { runtimePath }]) =>
      runtimePath === generation.shim ? name : [],
    );
    const isStaged = journals.some(({ staged = [] }) => staged.includes(directory));
    const parts = [
      `processes that use it: ${all.filter((user) => user.directory === directory).length}`,
      `loaded as: ${running === undefined ? 'unknown' : loaded.join(', ') || 'nothing'}`,
      ...(isStaged ? ['staged'] : []),
      ...(damaged.length === 0 ? [] : [`damaged: ${damaged.join(', ')}; install that release again`]),
    ];
    const state = damaged.length === 0 ? 'pass' : 'fail';
    report({ step: 'stage', state, text: `${directory}: ${parts.join('; ')}` });
  }
  if (faults > 0) throw new Refusal('journal', { what: 'Not all is as it was installed: see above' });
}

async function reportJournal(
  { handler, installed, pending, failure }: Journal,
  { root, report }: Node,
): Promise<void> {
  if (installed !== undefined) {
    const { generation, written } = installed;
    const { release, directory } = generationAt(generation);
    const content = (await contentOf(root, written.file)) ?? '';
    const text = markedBlock(handler, content) ?? unmarkedTable(handler, content);
    const isThere = text?.includes(generationAt(generation).config) === true;
    const where = isThere ? `named in "${written.file}"` : `and "${written.file}" does not name it any more`;
    const told = `handler "${handler}" runs ${release} from ${directory}, ${where}`;
    report({ step: 'commit', state: isThere ? 'pass' : 'fail', text: told });
  }
  if (pending !== undefined) {
    const { generation, step, since } = pending;
    const text = `handler "${handler}": a change to ${generation} is under way or was interrupted, since ${since}`;
    report({ step, state: 'fail', text });
  }
  if (failure !== undefined) {
    const { generation, step, at, message } = failure;
    const text = `handler "${handler}": ${generation} failed at ${at} in ${step}: ${message}`;
    report({ step: 'undo', state: 'fail', text });
  }
}
