import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { openAccess } from '../../controller/access.ts';

describe('openAccess with a service account', () => {
  it('has the namespace of the pod, and reads the token again for each request', async (t) => {
    const root = await mkdtemp(join(tmpdir(), 'fleet-access-'));
    t.after(() => rm(root, { recursive: true }));
    await writeFile(join(root, 'ca.crt'), 'a certificate');
    await writeFile(join(root, 'token'), 'one\n');
    await writeFile(join(root, 'namespace'), 'elsewhere');
    const { access, namespace } = await openAccess(undefined, {}, root);
    assert.equal(namespace, 'elsewhere');
    const { token } = access;
    assert.equal(await token?.(), 'one');
    await writeFile(join(root, 'token'), 'two\n');
    assert.equal(await token?.(), 'two');
  });
});
