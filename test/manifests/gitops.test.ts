import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { loadAllYaml, loadYaml } from '@kubernetes/client-node';
import { CHART } from '../../hack/chart.ts';
import { REPO } from '../../hack/paths.ts';
import { REPOSITORY } from '../../hack/repository.ts';
import { VERSION } from '../../lib/base/version.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { renderChart } from './chart-objects.ts';

const PATH = 'clusters/production/gvisor-ready';
const block = (mark: string) => markedBlock('docs/gitops.md', mark);

type Flux = {
  kind: string;
  metadata: { name: string; namespace: string };
  spec: { path?: string; sourceRef?: { kind: string; name: string } };
};

type Application = {
  spec: {
    source: { chart: string; targetRevision: string; helm: { valuesObject: object } };
    destination: { namespace: string };
  };
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

  it('has an Application whose values the chart takes', async () => {
    const { spec } = loadYaml<Application>(block('argocd-chart'));
    assert.deepEqual([spec.source.chart, spec.source.targetRevision], ['gvisor-ready', VERSION]);
    const names = { release: 'gvisor-ready', namespace: spec.destination.namespace };
    const rendered = await renderChart(spec.source.helm.valuesObject, CHART, names);
    assert.match(JSON.stringify(rendered), /"image":"registry\.example\.org\/gvisor-ready:/);
    assert.ok(rendered.some(({ metadata }) => metadata.name === 'gvisor-ready-enforce'));
  });

  it('has a transformer of this version for other namespaces', () => {
    const { transformers } = loadYaml<{ transformers: string[] }>(block('namespace'));
    assert.deepEqual(transformers, [`${REPOSITORY}//manifests/namespace?ref=v${VERSION}`]);
    assert.ok(existsSync(join(REPO, 'manifests/namespace/kustomization.yaml')));
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
