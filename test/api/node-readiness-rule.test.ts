import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { parse } from 'yaml';
import { CONDITION } from '../../agent/node/object.ts';
import { REPO } from '../../hack/paths.ts';
import { patient } from '../../hack/run.ts';
import { applyOverlay } from '../e2e/agents.ts';
import { useApiServer } from './api-server.ts';

const cluster = useApiServer([]);
const CRD = join(REPO, 'test/fixtures/crds/node-readiness-rules.yaml');

describe('the NodeReadinessRule, on a real API server that has its CRD', () => {
  let rule: string;
  before(
    async () => {
      await cluster().kubectl(['apply', '-f', CRD]);
      await cluster().kubectl(
        ['wait', '--for=condition=Established', '--timeout=180s', '-f', CRD],
        '',
        70_000,
      );
      rule = await readFile(join(REPO, 'manifests/components/node-readiness-rule/rule.yaml'), 'utf8');
    },
    { timeout: patient(150_000) },
  );

  it('is accepted as its component applies it, and asks for the condition that agents write', async () => {
    await applyOverlay(cluster(), ['node-readiness-rule']);
    const stored = JSON.parse(
      await cluster().kubectl(['get', 'nodereadinessrule', 'gvisor-ready', '-o', 'json']),
    );
    assert.deepEqual(stored.spec, parse(rule).spec);
    assert.deepEqual(stored.spec.conditions, [{ type: CONDITION, requiredStatus: 'True' }]);
  });

  const refused: readonly (readonly [string, RegExp, string, RegExp])[] = [
    [
      'a misspelt field',
      /requiredStatus/,
      'requiredState',
      /unknown field "spec.conditions\[0\].requiredState"/,
    ],
    [
      'a condition that is neither True, False nor Unknown',
      /"True"/,
      '"Yes"',
      /requiredStatus: Unsupported value/,
    ],
    ["a taint of the agents' own domain", /readiness\.k8s\.io\//, 'gvisor.example.com/', /must start with/],
    ['an effect that does not exist', /NoSchedule/, 'NoTaint', /taint effect must be one of/],
  ];
  for (const [what, from, to, why] of refused) {
    it(`would be refused with ${what}`, async () => {
      const other = rule.replace('name: gvisor-ready', 'name: other').replace(from, to);
      await assert.rejects(cluster().kubectl(['apply', '--dry-run=server', '-f', '-'], other), why);
    });
  }
});
