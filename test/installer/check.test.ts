import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { check } from '../../installer/commands/check.ts';
import { GENERATIONS } from '../../installer/release/generation.ts';
import { CONFIG, ORIGINAL, refusal, type Scene, scene } from './scene.ts';

const EDITED = `${ORIGINAL}[plugins."io.containerd.cri.v1.runtime"]\nmax_container_log_line_size = 4096\n`;
const LOADED_BEFORE = EDITED.replace('4096', '16384');

/** What is wrong on a node after an installation, and what check refuses. */
const REFUSED: Readonly<Record<string, [(on: Scene) => unknown, RegExp]>> = {
  'a file of the release that is gone': [
    ({ root, state }) =>
      rmSync(
        join(root, GENERATIONS, state().files?.find((name) => name.startsWith('release-')) ?? '', 'runsc'),
      ),
    /^stage: ".*\/runsc" is damaged or missing\. Install that release again/,
  ],
  'a text of the installer that somebody edited': [
    (on) => on.write(CONFIG, on.read(CONFIG).replace('runsc.toml', 'other.toml')),
    /^write: The text of gvisor-ready in ".*" is not the one that was written there/,
  ],
};

describe('check', () => {
  it('says that an installation would not be refused, and changes nothing', async (t) => {
    const on = await scene(t);
    const before = on.state();
    await check(on.node);
    assert.match(on.said[0] ?? '', /^check pass containerd .*, cgroup driver cgroupfs, configuration/);
    assert.deepEqual(on.said.slice(1), [
      `validate pass containerd would read the handler "runsc" from "${CONFIG}", and nothing else changes`,
    ]);
    assert.deepEqual(on.state(), before);
    assert.equal(await on.journal(), undefined);
  });

  it('says of an installed handler that it is as it was written', async (t) => {
    const on = await scene(t);
    await on.install();
    await check(on.node);
    assert.equal(
      on.said.at(-1),
      'validate pass containerd has the handler "runsc" as it was written, and nothing else changes',
    );
  });

  for (const [what, [spoil, because]] of Object.entries(REFUSED))
    it(`refuses ${what}`, async (t) => {
      const on = await scene(t);
      await on.install();
      await spoil(on);
      assert.match(await refusal(check(on.node)), because);
    });

  it('asks what a restart would load, unless none is wanted', async (t) => {
    const on = await scene(t);
    on.write(CONFIG, EDITED);
    on.write('/run/loaded.toml', LOADED_BEFORE);
    assert.match(await refusal(check(on.node)), /^check: .* not loaded: max_container_log_line_size/);
    await check({ ...on.node, noRestart: true });
  });
});
