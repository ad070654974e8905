import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { draftOf } from '../../installer/base/whole-file.ts';
import { remove } from '../../installer/commands/remove.ts';
import { GENERATIONS } from '../../installer/release/generation.ts';
import { installJournal } from '../../lib/host/installation.ts';
import { RARE } from '../rare.ts';
import { CONFIG, LOADED, ORIGINAL, refusal, type Scene, scene } from './scene.ts';

const JOURNAL = installJournal('runsc');
const KEEP = { force: false, retryNow: true };
const PLACES = ['/etc/containerd', GENERATIONS, LOADED];
const TABLE = ORIGINAL.split('\n').slice(1).join('\n');

/** Configurations of containerd, its version, and whether a handler can be added to it. */
const CONFIGS: Readonly<Record<string, readonly [text: string, version?: string, takes?: false]>> = {
  'a root file': [ORIGINAL],
  'line ends as on Windows': [ORIGINAL.replaceAll('\n', '\r\n')],
  'containerd 1.7': [`version = 2\n${TABLE.replace('cri.v1.runtime', 'grpc.v1.cri')}`, '1.7.34'],
  'inline tables, which nothing can be added to': [
    'version = 3\n[plugins]\n"io.containerd.cri.v1.runtime" = { containerd = { runtimes = { runc = { runtime_type = "io.containerd.runc.v2" } } } }\n',
    '2.4.2',
    false,
  ],
};

/** Calls `keep` before each change of the file system, until the returned function is called. */
function beforeEachChange(t: TestContext, keep: () => void): () => void {
  const mocks = (['open', 'rename', 'rm'] as const).map((name) => {
    const real = fs[name] as (...given: unknown[]) => unknown;
    return t.mock.method(fs, name, (...given: unknown[]) => {
      keep();
      return real(...given);
    });
  });
  syncBuiltinESMExports();
  return () => {
    for (const { mock } of mocks) mock.restore();
    syncBuiltinESMExports();
  };
}

/** Copies what there is of the places from one root to another. */
function copyPlaces(from: string, to: string): void {
  for (const path of PLACES.filter((each) => existsSync(from + each)))
    cpSync(from + path, to + path, { recursive: true, preserveTimestamps: true });
}

async function changeThrice(on: Scene): Promise<void> {
  await refusal(on.install('release-2'));
  await refusal(on.install('release-1', { retryNow: true }));
  await refusal(remove(on.node, KEEP));
}

describe('a run that is killed before any change of a file, or in it', () => {
  for (const [at, [what, [original, version = '2.4.2', takes = true]]] of Object.entries(CONFIGS).entries())
    it(`leaves ${takes ? 'a node that the next run proves' : 'the node as it was'}, with ${what}`, async (t) => {
      const on = await scene(t);
      on.script({ Version: () => ({ runtimeName: 'containerd', runtimeVersion: version }) });
      for (const path of [CONFIG, LOADED]) on.write(path, original);
      const kept = mkdtempSync(join(tmpdir(), 'kept-'));
      t.after(() => rmSync(kept, { recursive: true }));
      const seen = new Map<string, string>();
      const stop = beforeEachChange(t, () => {
        const journal = existsSync(on.root + JOURNAL) ? on.read(JOURNAL) : '{}';
        const step = `${JSON.parse(journal).pending?.step} ${/"removes"/.test(journal)}`;
        const key = [on.read(CONFIG), on.read(LOADED), step, on.state().files].join('\0');
        if (seen.has(key)) return;
        seen.set(key, `${seen.size}: ${step}`);
        copyPlaces(on.root, `${kept}/${seen.size - 1}`);
      });
      await changeThrice(on).finally(stop);
      assert.ok(seen.size > (takes ? 20 : 3), String(seen.size));
      for (const [index, state] of [...seen.values()].entries()) {
        if (!RARE && index % 10 !== at) continue;
        for (const path of PLACES) rmSync(on.root + path, { recursive: true, force: true });
        copyPlaces(`${kept}/${index}`, on.root);
        on.write('/run/restarts', '');
        // Half of a write is only ever in a draft.
        on.write(draftOf(CONFIG), 'version = ');
        if (existsSync(on.root + GENERATIONS)) on.write(draftOf(JOURNAL), '{"form');
        // containerd was killed as well, and has started with what is in its place.
        if (index % 2 === 0) on.write(LOADED, on.read(CONFIG));
        const said = await refusal(on.install('release-1', { retryNow: true }));
        const { installed, pending } = (await on.journal()) ?? {};
        if (takes) {
          assert.equal(said, 'nothing was refused', state);
          const text = `${original}${installed?.written.text}`;
          assert.deepEqual([on.read(CONFIG), on.read(LOADED), pending], [text, text, undefined], state);
          await remove(on.node, KEEP);
        } else assert.match(said, /^(validate|check): /, state);
        assert.deepEqual([on.read(CONFIG), on.read(LOADED)], [original, original], state);
        assert.equal(existsSync(on.root + draftOf(CONFIG)), false, state);
      }
    });
});
