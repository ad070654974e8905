import assert from 'node:assert/strict';
import { closeSync, openSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import timers from 'node:timers/promises';
import { FileTrigger } from '../../../agent/trigger/files.ts';
import { Host } from '../../../lib/host/host.ts';

// A separate process that uses up its file descriptors, so that inotify fails too.
const root = process.argv[2] ?? '';
const CONFIG = '/etc/config.toml';
const reported: unknown[] = [];
let changed = Promise.withResolvers<string>();
const host = new Host(root);
const trigger = new FileTrigger(host, (path) => changed.resolve(path), {
  onUnwatched: (directories, why) => reported.push([directories, why]),
  pollMs: 10,
});

/** Replaces the file without opening one. */
async function replace(name: string): Promise<void> {
  changed = Promise.withResolvers();
  symlinkSync(name, join(root, name));
  renameSync(join(root, name), join(root, CONFIG));
  reported.push(await changed.promise);
}

// The trigger does not keep the process alive.
const alive = setInterval(() => {}, 60_000);
const open: number[] = [];
// The loader may close a file a moment later.
for (let turn = 0; turn < 20; turn++) {
  try {
    for (;;) open.push(openSync('/dev/null', 'r'));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'EMFILE');
  }
  await timers.setTimeout(5);
}
await trigger.watch([CONFIG]);
await replace('first');
for (const file of open) closeSync(file);
await trigger.watch([CONFIG]);
await replace('second');
trigger.close();
clearInterval(alive);
console.log(JSON.stringify(reported));
