import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadYaml } from '@kubernetes/client-node';
import { packRelease } from '../../hack/gvisor-release.ts';
import { CONTAINERDS, PLATFORMS, type Platform, printPiece } from '../../installer/print.ts';
import { generationOf, readRelease } from '../../installer/release.ts';
import { readContainerdConfig } from '../../lib/node/containerd/config.ts';
import { Host } from '../../lib/node/host/host.ts';

const RELEASES = { '1.7': '1.7.34', '2': 'v2.4.2' } as const;
const V2 =
  'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n  runtime_type = "io.containerd.runc.v2"\n';
const FLAGS = new Map([['systemd-cgroup', 'true']]);

let work = '';
let release = '';
before(async () => {
  work = await mkdtemp(join(tmpdir(), 'print-'));
  release = join(work, 'release');
  await writeFile(join(work, 'program'), '#!/bin/sh\n');
  const programs = { runsc: join(work, 'program'), 'containerd-shim-runsc-v1': join(work, 'program') };
  await packRelease(release, 'release-20260223.0', programs);
});
after(() => rm(work, { recursive: true, force: true }));

const piece = (platform: Platform, containerd: (typeof CONTAINERDS)[number] = '2') =>
  printPiece(platform, { handler: 'runsc', release, flags: FLAGS, containerd });

/** The files that a platform's containerd reads, with the piece where its comments say. */
function filesWith(platform: Platform, containerd: (typeof CONTAINERDS)[number], text: string) {
  const root = containerd === '2' ? 'version = 3\nimports = ["/etc/containerd/conf.d/*.toml"]\n' : V2;
  if (platform === 'eks') {
    const { spec } = loadYaml(text) as { spec: { containerd: { config: string } } };
    return {
      '/etc/containerd/config.toml': `${containerd === '2' ? 'version = 3\n' : V2}${spec.containerd.config}`,
    };
  }
  if (platform === 'microk8s') return { '/etc/containerd/config.toml': `${V2}${text}` };
  if (text.includes('template "base"'))
    return { '/etc/containerd/config.toml': text.replace('{{ template "base" . }}', V2) };
  return { '/etc/containerd/config.toml': root, '/etc/containerd/conf.d/gvisor-ready.toml': text };
}

describe('printPiece', () => {
  for (const platform of ['k3s', 'rke2', 'k0s', 'microk8s', 'eks'] as const)
    for (const containerd of CONTAINERDS) {
      // k0s of containerd 1.7 had no directory of drop-ins whose tables do not replace the section.
      if (platform === 'k0s' && containerd === '1.7') continue;
      it(`${platform}, containerd ${containerd}: the handler runs the staged generation`, async () => {
        const root = await mkdtemp(join(work, 'host-'));
        for (const [path, text] of Object.entries(
          filesWith(platform, containerd, await piece(platform, containerd)),
        )) {
          await mkdir(dirname(join(root, path)), { recursive: true });
          await writeFile(join(root, path), text);
        }
        const config = await readContainerdConfig(
          new Host(root),
          '/etc/containerd/config.toml',
          RELEASES[containerd],
        );
        const { shim, config: toml } = generationOf(await readRelease(release), FLAGS);
        const runtime = config.runtimes.get('runsc');
        assert.deepEqual(
          [runtime?.runtimePath, runtime?.options.ConfigPath],
          [shim, toml],
          JSON.stringify(config.fault),
        );
        assert.equal(config.runtimes.get('runc')?.runtimeType, 'io.containerd.runc.v2');
      });
    }

  it('says on each platform what was not run', async () => {
    for (const platform of PLATFORMS) assert.match(await piece(platform), /was not run\.$/m);
  });

  it('installs with the same flags in cloud-init, without a restart', async () => {
    const text = await piece('cloud-init');
    assert.match(text, /^#cloud-config\n/);
    assert.deepEqual((loadYaml(text) as { runcmd: string[] }).runcmd, [
      `gvisor-ready-install --no-restart --handler runsc install --release ${release} --flag systemd-cgroup=true`,
    ]);
  });
});
