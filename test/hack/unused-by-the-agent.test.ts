import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { build } from 'esbuild';
import { bundle } from '../../hack/bundle.ts';
import { run } from '../../hack/run.ts';
import { withoutUnused } from '../../hack/unused-by-the-agent.ts';

describe('the bundled agent', () => {
  let dist = '';
  before(async () => {
    dist = await mkdtemp(join(tmpdir(), 'bundle-'));
    await bundle({ dist });
  });
  after(() => rm(dist, { recursive: true, force: true }));

  it('loads neither zlib nor threads nor programs', async () => {
    const tell = `process.on('exit', () => console.log('loaded', process.moduleLoadList.join(' ')))`;
    const stdout = await run(process.execPath, [
      '--import',
      `data:text/javascript,${encodeURIComponent(tell)}`,
      join(dist, 'agent.cjs'),
      '--help',
    ]);
    const loaded = stdout.slice(stdout.lastIndexOf('loaded'));
    assert.match(loaded, /NativeModule http2/);
    assert.doesNotMatch(loaded, /NativeModule (zlib|worker_threads|child_process)\b/);
  });

  it('has no server of gRPC, and nothing that shares a load', async () => {
    const text = await readFile(join(dist, 'agent.cjs'), 'utf8');
    const parts = [...text.matchAll(/grpc-js\/build\/src\/([a-z-]+)\.js/g)].map(([, part = '']) => part);
    assert.ok(parts.includes('client'));
    const unused = parts.filter((part) => /^(server|orca|load-balancer-(round|weighted|outlier))/.test(part));
    assert.deepEqual(unused, []);
  });

  it('names no module that starts programs', async () =>
    assert.doesNotMatch(
      await readFile(join(dist, 'agent.cjs'), 'utf8'),
      /require\(["'](node:)?child_process["']\)/,
    ));
});

describe('what stands in the place of a module', () => {
  const says = async (expression: string): Promise<string> => {
    const { outputFiles } = await build({
      stdin: { contents: `console.log(${expression})` },
      write: false,
      bundle: true,
      platform: 'node',
      format: 'cjs',
      plugins: [withoutUnused],
    });
    return (await run(process.execPath, ['--eval', outputFiles[0]?.text ?? ''])).trim();
  };

  it('decompresses when it must', async () =>
    assert.equal(
      await says(`String(require('zlib').gunzipSync(require('node:zlib').gzipSync('plain')))`),
      'plain',
    ));
  for (const [expression, message] of [
    [`require('child_process').spawn('true')`, /the agent starts no program/],
    [`new (require('worker_threads').Worker)('x')`, /the agent starts no thread/],
  ] as const)
    it(`refuses ${expression}`, () => assert.rejects(says(expression), message));
});
