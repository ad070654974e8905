import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { REPO } from '../../hack/paths.ts';

describe('gvisor-ready-install with bad input', () => {
  const empty = mkdtempSync(join(tmpdir(), 'installer-'));
  after(() => rmSync(empty, { recursive: true }));
  const cases: readonly (readonly [string, readonly string[], number, RegExp])[] = [
    ['a root that does not exist', ['--root', '/none', 'check'], 1, /no directory "\/none"\. Give --root/],
    ['no containerd', ['--root', empty, 'check'], 1, /containerd does not respond at .*ENOENT/],
    ['no release', ['install', '--release', empty], 1, /Cannot read the release's manifest .*ENOENT/],
    ['an unknown platform', ['print', 'none'], 64, /Allowed choices are k3s, rke2/],
    ['a handler that is a path', ['--handler', '../x', 'check'], 64, /lower-case letters/],
    ['a time that is no number', ['--quiet-timeout', 'soon', 'check'], 64, /from 0 to 86400/],
  ];
  for (const [what, words, code, text] of cases)
    it(`${what}: says so and ends with ${code}`, async () => {
      const args = [join(REPO, 'installer/main.ts'), ...words];
      const failed = await promisify(execFile)(process.execPath, args, { timeout: 60_000, cwd: REPO }).catch(
        (error: { readonly code: number; readonly stderr: string }) => error,
      );
      assert.match(failed.stderr, text);
      assert.equal('code' in failed ? failed.code : 0, code);
    });
});
