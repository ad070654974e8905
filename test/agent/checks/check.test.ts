import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Sources } from '../../../agent/checks/check.ts';
import { tempHost } from '../../lib/host/temp-host.ts';
import { criStatus, failedCall, fakeCri, inputsOf, sourcesOf, sourcesWith } from './fake-node.ts';

const PROGRAM = { program: '#!/bin/sh\n' };
const SHIM = '/opt/gvisor/20250203.0/containerd-shim-runsc-v1';
const CONFIG = '/etc/containerd/config.toml';

describe('CheckInputs', () => {
  it('prefers the usual directories, because an upgrade may abandon the directory of the last shim', async (t) => {
    const besideShim = '/opt/gvisor/20250203.0/runsc';
    for (const path of [besideShim, '/usr/local/bin/runsc']) {
      const sources = await sourcesWith(t, { [besideShim]: PROGRAM, [path]: PROGRAM });
      assert.equal(await inputsOf({ ...sources, shim: SHIM }).runsc(), path);
    }
  });

  it('caches results and errors for one evaluation', async (t) => {
    const host = await tempHost(t, { [CONFIG]: 'version = 3\n' });
    const [first, second] = [sourcesOf('', { host }), sourcesOf('', { host, cri: fakeCri(undefined) })];
    const [inputs, silent] = [inputsOf(first), inputsOf(second)];
    assert.equal((await inputs.config()).fault, undefined);
    await writeFile(join(host.root, CONFIG), 'version = "three"\n');
    assert.equal((await inputs.config()).fault, undefined);
    assert.equal((await inputsOf(first).config()).fault?.line, 1);
    for (const _ of [1, 2]) await assert.rejects(silent.status(), { kind: 'unreachable' });
  });

  it('sends no further request to a containerd that did not respond', async () => {
    let requests = 0;
    const cri: Sources['cri'] = {
      ...fakeCri(criStatus()),
      status: () => Promise.reject(failedCall('Version')),
      shimInfo: async () => {
        requests += 1;
        return { kind: 'unsupported' };
      },
    };
    await assert.rejects(inputsOf(sourcesOf('kubeadm-ready', { cri })).shimInfo(), { name: 'CriError' });
    assert.equal(requests, 0);
  });
});
