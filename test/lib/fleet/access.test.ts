import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { accessOf, namespaceOf, openConfig } from '../../../lib/fleet/access.ts';

describe('accessOf a service account', () => {
  it('has the namespace of the pod, and reads the token again for each request', async (t) => {
    const root = await mkdtemp(join(tmpdir(), 'fleet-access-'));
    t.after(() => rm(root, { recursive: true }));
    const directory = join(root, 'var/run/secrets/kubernetes.io/serviceaccount');
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'ca.crt'), 'a certificate');
    await writeFile(join(directory, 'token'), 'one\n');
    await writeFile(join(directory, 'namespace'), 'elsewhere');
    const config = openConfig(undefined, root);
    assert.equal(namespaceOf(config), 'elsewhere');
    const { token } = await accessOf(config);
    assert.equal(await token?.(), 'one');
    await writeFile(join(directory, 'token'), 'two\n');
    assert.equal(await token?.(), 'two');
  });
});
