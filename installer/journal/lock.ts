import { constants } from 'node:fs';
import { chmod, mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { errorLine } from '../../lib/base/sanitize.ts';
import { Refusal } from '../base/refusal.ts';

/** Not in /run/lock, where every user of the host may create files. */
const LOCK = '/run/gvisor-ready-install.lock';

/**
 * Holds the lock until this process ends, however it ends. Node has no flock(2), but SQLite locks its file with fcntl(2),
 * for which others would need to read it. Throws a {@link Refusal} while another installer holds it.
 */
export async function holdLock(root: string): Promise<Disposable> {
  const file = join(root, LOCK);
  await mkdir(dirname(file), { recursive: true });
  // Emptied, because SQLite refuses what is no database; one without tables is empty anyway.
  const flags = constants.O_CREAT | constants.O_WRONLY | constants.O_TRUNC | constants.O_NOFOLLOW;
  await (await open(file, flags, 0o600)).close();
  await chmod(file, 0o600);
  const database = new DatabaseSync(file);
  try {
    database.exec('PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    const what = `Another installer is at work on this node, or "${LOCK}" cannot be locked: ${errorLine(cause)}`;
    throw new Refusal('journal', { what, cause });
  }
  return { [Symbol.dispose]: () => database.close() };
}
