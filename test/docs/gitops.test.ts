import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { loadAllYaml, loadYaml } from '@kubernetes/client-node';
import { VERSION } from '../../agent/config.ts';
import { REPO } from '../../hack/paths.ts';
import { markedBlocks } from './marked-blocks.ts';

const PATH = 'clusters/production/gvisor-ready';
const block = (mark: string) => markedBlocks('docs/gitops.md').find((one) => one.mark === mark)?.text ?? '';

type Flux = {
  kind: string;
  metadata: { name: string; namespace: string };
  spec: { path?: string; sourceRef?: { kind: string; name: string } };
};

describe('docs/gitops.md', () => {
  it('refers to existing directories of this version', () => {
    const text = loadYaml<{ resources: string[]; components: string[]; images: { newTag: string }[] }>(
      block('kustomization'),
    );
    for (const url of [...text.resources, ...text.components]) {
      const [, path = '', ref] = /gvisor-ready\/\/(.+)\?ref=(.+)$/.exec(url) ?? [];
      assert.ok(existsSync(join(REPO, path, 'kustomization.yaml')), url);
      assert.equal(ref, `v${VERSION}`);
    }
    assert.deepEqual(
      text.images.map(({ newTag }) => newTag),
      [VERSION],
    );
  });

  it('points Argo CD and Flux at that kustomization', () => {
    const application = loadYaml<{ spec: { source: { path: string } } }>(block('argocd'));
    assert.equal(application.spec.source.path, PATH);
    const [source, kustomization] = loadAllYaml(block('flux')) as [Flux, Flux];
    assert.equal(kustomization.spec.path, `./${PATH}`);
    assert.deepEqual(kustomization.spec.sourceRef, { kind: source.kind, name: source.metadata.name });
    assert.equal(kustomization.metadata.namespace, source.metadata.namespace);
  });
});
