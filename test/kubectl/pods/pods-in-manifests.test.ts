import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { askedBy } from '../../../kubectl/pods/features.ts';
import { readManifests } from '../../../kubectl/pods/pods-in-manifests.ts';

const workflow = (spec: string) => `kind: Workflow\nmetadata: {generateName: w-}\nspec:\n  ${spec}\n`;
const task = (spec: string) => `kind: Task\nmetadata: {name: t}\nspec: ${spec}\n`;
const configMap = (text: string) =>
  `kind: ConfigMap\nmetadata: {name: m}\ndata:\n  pod.yaml: |\n${text.replace(/^/gm, '    ')}\n`;

/** Manifests, and the places of pods with the rows that they ask for, or of what could not be read. */
const CASES: Readonly<Record<string, readonly [manifest: string, said: readonly string[]]>> = {
  'an Argo Workflow': [
    workflow(`volumes: [{name: s, hostPath: {path: /run/x.sock}}]
  templates:
  - {name: whole, steps: [[{name: one, template: a}]]}
  - {name: a, container: {image: x, securityContext: {capabilities: {add: [NET_RAW]}}}}
  - {name: b, script: {image: x, command: [sh], source: sudo true}, sidecars: [{name: d, image: "docker:dind"}]}`),
    [
      'Workflow/w-, template a: hostSocket rawSocket(main)',
      'Workflow/w-, template b: hostSocket docker(d) setuid(main)',
    ],
  ],
  'an Argo CronWorkflow': [
    `kind: CronWorkflow\nmetadata: {name: c}\nspec: {workflowSpec: {hostNetwork: yes, templates: [{name: a, container: {image: x}}]}}`,
    ['CronWorkflow/c, template a: hostNetwork'],
  ],
  'a set of containers': [
    workflow(
      'templates: [{name: a, volumes: [{name: v, emptyDir: {}}], containerSet: {volumeMounts: [{name: v}], containers: [{name: one}, {name: two}]}}]',
    ),
    ['Workflow/w-, template a: sharedVolume(one,two)'],
  ],
  'mounts that a sidecar mirrors': [
    workflow(
      'templates: [{name: a, container: {volumeMounts: [{name: v}]}, sidecars: [{name: s, mirrorVolumeMounts: true}]}]',
    ),
    ['Workflow/w-, template a: sharedVolume(main,s)'],
  ],
  'patches of the pod spec': [
    workflow(`podSpecPatch: "hostPID: true"
  templates: [{name: a, podSpecPatch: '{"containers": [{"name": "main", "securityContext": {"privileged": true}}]}', container: {image: x}}]`),
    ['Workflow/w-, template a: hostPID privileged(main)'],
  ],
  'a patch of a list of words': [
    workflow(
      `templates: [{name: a, podSpecPatch: "containers: [{name: main, securityContext: {capabilities: {add: [NET_RAW]}}}]", container: {securityContext: {capabilities: {add: [CHOWN]}}}}]`,
    ),
    ['Workflow/w-, template a: rawSocket(main)'],
  ],
  'a patch that is no YAML': [
    workflow(`templates: [{name: a, podSpecPatch: "{", container: {image: x}}]`),
    ['unreadable Workflow/w-, template a, podSpecPatch'],
  ],
  'a manifest that Argo creates': [
    workflow(
      `templates: [{name: a, resource: {action: create, manifest: "kind: Pod\\nmetadata: {name: p}\\nspec:\\n  hostPID: true\\n  containers: []"}}]`,
    ),
    ['Pod/p: hostPID'],
  ],
  'a Tekton Task': [
    task(
      '{stepTemplate: {securityContext: {privileged: true}}, steps: [{image: x, script: "sysctl -w a=b"}]}',
    ),
    ['Task/t: sysctlWrite(step-1) privileged(step-1)'],
  ],
  'the workspace of a sidecar': [
    task('{workspaces: [{name: w}], steps: [{image: x}, {image: x}], sidecars: [{name: s, image: x}]}'),
    ['Task/t: sharedVolume(step-1,step-2,s)'],
  ],
  'the workspace of steps, which run one after the other': [
    task('{workspaces: [{name: w}], steps: [{image: x}, {image: x}]}'),
    ['Task/t:'],
  ],
  'a pod template in a ConfigMap': [
    configMap('kind: Pod\nspec:\n  hostPID: true\n  containers: []'),
    ['Pod/?: hostPID'],
  ],
  'a template without a kind in a ConfigMap': [
    configMap('template:\n  spec:\n    hostPID: true\n    containers: []'),
    ['ConfigMap/m, pod.yaml: hostPID'],
  ],
  'a text in a ConfigMap that is no YAML': [
    configMap('spec:\n  {{- if x }}\n  containers:\n  {{- end }}'),
    ['unreadable ConfigMap/m, pod.yaml'],
  ],
  'another text in a ConfigMap': [configMap('a: [1\nlog: containers: 3'), ['no pod in ConfigMap/m']],
  "YAML 1.1's booleans": [
    'kind: Pod\nmetadata: {name: a}\nspec: {hostNetwork: no, hostPID: off, hostIPC: yes, hostUsers: no, containers: []}',
    ['Pod/a: userNamespace hostIPC'],
  ],
  'a key that is there twice': [
    'kind: Pod\nmetadata: {name: a}\nspec:\n  hostPID: false\n  hostPID: true\n  containers: []',
    ['document 1, line 5: hostPID twice', 'Pod/a: hostPID'],
  ],
  'a pod beside what is no YAML': [
    'a: [\n---\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}',
    ['unreadable document 1', 'Pod/a:'],
  ],
  'a pod without a kind': ['spec: {containers: []}', ['document 1:']],
};

describe('readManifests', () => {
  for (const [what, [manifest, expected]] of Object.entries(CASES))
    it(`reads ${what}`, () => {
      const said = readManifests(manifest).map((part) => {
        if (part.kind === 'unreadable') return `unreadable ${part.place}`;
        if (part.kind === 'noPod') return `no pod in ${part.place}`;
        if (part.kind === 'duplicateKey') return `${part.place}: ${part.key} twice`;
        const rows = askedBy(part.spec).map(({ feature, by }) =>
          by.includes('pod') ? feature.id : `${feature.id}(${by})`,
        );
        return `${part.place}: ${rows.join(' ')}`.trim();
      });
      assert.deepEqual(said, expected);
    });
});
