import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { bundle, CHANGES } from '../../hack/bundle.ts';
import { run } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';

describe('the bundle', () => {
  let dist = '';
  const version = async (name: string) =>
    (await run(join(dist, 'node'), [join(dist, `${name}.cjs`), '--version'])).trim();
  before(async () => {
    dist = await mkdtemp(join(tmpdir(), 'bundle-'));
    await bundle({ dist });
  });
  after(() => rm(dist, { recursive: true, force: true }));

  it('runs without node_modules', async () => {
    assert.equal(await version('agent'), VERSION);
    assert.equal(await version('kubectl'), VERSION);
    assert.match(
      await run(join(dist, 'node'), [join(dist, 'controller.cjs'), '--help']),
      /^gvisor-ready fleet /,
    );
  });

  it('contains the HTTP client of undici without its WebSocket, caches and mocks', async () => {
    const { sources } = JSON.parse(await readFile(join(dist, 'agent.cjs.map'), 'utf8')) as {
      sources: string[];
    };
    const undici = sources.filter((path) => path.includes('/node_modules/undici/'));
    assert.ok(undici.some((path) => path.endsWith('/lib/dispatcher/client-h1.js')));
    assert.deepEqual(
      undici.filter((path) => /\/lib\/(mock|cache|web\/(websocket|cache|eventsource))\//.test(path)),
      [],
    );
  });

  it('is built once for the same sources, and again for those that tests change', async () => {
    const builtAt = async () => (await stat(join(dist, 'agent.cjs'))).mtimeMs;
    const first = await builtAt();
    await bundle({ dist });
    assert.equal(await builtAt(), first);
    await bundle({ dist, changes: Object.values(CHANGES).flat() });
    assert.equal(await version('agent'), '0.2.0');
  });
});
