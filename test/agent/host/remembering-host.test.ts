import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Host } from '../../../agent/host/host.ts';
import { RememberingHost } from '../../../agent/host/remembering-host.ts';

describe('RememberingHost', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'remembering-host-'));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  it('answers as it did first, whatever becomes of the file', async () => {
    await writeFile(join(root, 'config'), 'old');
    const host = new RememberingHost(new Host(root));
    assert.equal(await host.readText('/config'), 'old');
    assert.equal((await host.stat('/config'))?.size, 3);
    assert.equal(await host.stat('/absent'), undefined);
    await writeFile(join(root, 'config'), 'newer');
    await writeFile(join(root, 'absent'), '');
    assert.equal(await host.readText('/config'), 'old');
    assert.equal((await host.stat('/config'))?.size, 3);
    assert.equal(await host.stat('/absent'), undefined);
    assert.equal(await new RememberingHost(new Host(root)).readText('/config'), 'newer');
  });

  it('keeps questions with other limits apart, and refuses as often as it is asked', async () => {
    await writeFile(join(root, 'config'), 'too long');
    const host = new RememberingHost(new Host(root));
    const refusal = { message: 'Cannot read host file "/config": it is larger than 3 bytes' };
    await assert.rejects(host.readText('/config', { maxBytes: 3 }), refusal);
    await assert.rejects(host.readText('/config', { maxBytes: 3 }), refusal);
    assert.equal(await host.readText('/config'), 'too long');
    assert.equal((await host.readStart('/config', 3))?.toString(), 'too');
    assert.equal((await host.readStart('/config', 5))?.toString(), 'too l');
  });

  it('looks as its host does: at links, folders and paths', async () => {
    const plain = new Host('/');
    const host = new RememberingHost(plain);
    assert.equal(await host.readLink('/proc/self/exe'), await plain.readLink('/proc/self/exe'));
    assert.deepEqual(await host.list('/proc/self/fdinfo/../ns'), await plain.list('/proc/self/ns'));
    assert.equal(await host.realpath('/proc/self'), await plain.realpath('/proc/self'));
    assert.equal(await host.localPath('/absent-everywhere'), undefined);
  });
});
