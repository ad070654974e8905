import assert from 'node:assert/strict';
import { closeSync, openSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import timers from 'node:timers/promises';
import { Host } from '../../../agent/host/host.ts';
import { FileTrigger } from '../../../agent/trigger/files.ts';

// A process of its own, since it uses up all the files that it may open: then the kernel gives it no watch either.
const root = process.argv[2] ?? '';
const CONFIG = '/etc/config.toml';
const told: unknown[] = [];
let heard = Promise.withResolvers<string>();
const host = new Host(root);
const trigger = new FileTrigger(host, (path) => heard.resolve(path), {
  onUnwatched: (folders, why) => told.push([folders, why]),
  pollMs: 10,
});

/** Replaces the file by another, which needs no file to be opened. */
async function replace(name: string): Promise<void> {
  heard = Promise.withResolvers();
  symlinkSync(name, join(root, name));
  renameSync(join(root, name), join(root, CONFIG));
  told.push(await heard.promise);
}

// The trigger itself keeps no process alive.
const alive = setInterval(() => {}, 60_000);
const open: number[] = [];
// What loaded this program may close a file of its own a moment later.
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
console.log(JSON.stringify(told));
