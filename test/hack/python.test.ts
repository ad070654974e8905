import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { runAll } from '../../hack/run.ts';

/** A python3 that creates an environment with a pip that does nothing, and fails if it exists. */
const PYTHON = `#!/bin/sh
[ "$1" = -c ] && echo /usr 3 11 2 && exit
mkdir "$3" && mkdir "$3/bin" && printf '#!/bin/sh\\nsleep 0.1\\n' > "$3/bin/python" && chmod +x "$3/bin/python"
`;

test('concurrent calls share one virtual environment', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'python-'));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, 'python3'), PYTHON);
  chmodSync(join(dir, 'python3'), 0o755);
  const script = `import { ensurePython } from './hack/python.ts';
    console.log((await Promise.all([ensurePython(), ensurePython()])).join(' '));`;
  const { code, stdout, stderr } = await runAll(process.execPath, ['--input-type=module', '-e', script], {
    cwd: REPO,
    env: {
      ...process.env,
      PATH: `${dir}:${process.env.PATH}`,
      GVISOR_READY_CACHE: join(dir, 'cache'),
    },
  });
  assert.equal(code, 0, stderr);
  const [first = '', second] = stdout.trim().split(' ');
  assert.equal(first, second);
  assert.ok(first.startsWith(join(dir, 'cache/python/')), first);
});
