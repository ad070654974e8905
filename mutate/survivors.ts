/** Mutants that no case kills, by their id, and why that does not matter. */
export const SURVIVORS: Readonly<Record<string, string>> = {
  'ValidatingAdmissionPolicy/gvisor-ready-agent spec.validations.3.expression: without `variables.newAnnotations == variables.oldAnnotations ||`':
    'It saves the API server the time of a loop, and no more.',
  "ValidatingAdmissionPolicy/gvisor-ready-agent spec.validations.8.expression: 'conditions' to 'conditions~' in `dStatus.all(key, key == 'conditions' || key in variables.new`":
    "Another rule keeps the kubelet's conditions, so the list never goes.",
  "ValidatingAdmissionPolicy/gvisor-ready-agent spec.validations.8.expression: without `key == 'conditions' ||` (2)":
    "Another rule keeps the kubelet's conditions, so the list never goes.",
  'ValidatingAdmissionPolicy/gvisor-ready-fleet spec.validations.6.expression: without `key in variables.writtenMetadata ||` (2)':
    'The controller changes the value of a label and removes none, so the labels never go.',
  "ValidatingAdmissionPolicy/gvisor-ready-fleet spec.validations.7.expression: without `key == 'conditions' ||` (2)":
    "Another rule keeps the kubelet's conditions, so the list never goes.",
  "ValidatingAdmissionPolicy/gvisor-ready-fleet spec.validations.7.expression: 'conditions' to 'conditions~' in `dStatus.all(key, key == 'conditions' || key in variables.new`":
    "Another rule keeps the kubelet's conditions, so the list never goes.",
  "ValidatingAdmissionPolicy/gvisor-ready-fleet-events spec.validations.1.expression: startsWith to contains in `quest.userInfo.username.startsWith('system:serviceaccount:`":
    'The name of a service account has this prefix at its beginning alone.',
  'ValidatingAdmissionPolicy/gvisor-ready-node-keys spec.variables.oldNode.expression: always false: `oldObject == null`':
    'The API server of the tests takes an optional field of null as absent; older ones were not tried.',
  'ValidatingAdmissionPolicy/gvisor-ready-node-keys spec.variables.changed.expression: always false: `variables.newLabels == variables.oldLabels`':
    'It saves the API server the time of two loops, and no more.',
  'ValidatingAdmissionPolicy/gvisor-ready-node-keys spec.variables.changed.expression: always false: `variables.newAnnotations == variables.oldAnnotations`':
    'It saves the API server the time of two loops, and no more.',
  "ValidatingAdmissionPolicy/gvisor-ready-guard-namespace spec.variables.before.expression: 'false' to 'false~' in `equire-gvisor'].orValue('false')`":
    'What stands for no label is only compared with "true" and with what was written, so any word that is no slip will do.',
  "ValidatingAdmissionPolicy/gvisor-ready-guard-namespace spec.variables.consentBefore.expression: 'false' to 'false~' in `w-host-kernel'].orValue('false')`":
    'What stands for no label is only compared with "true" and with what was written.',
  'ValidatingAdmissionPolicy/gvisor-ready-enforce spec.variables.gvisorAnnotations.expression: always false: `variables.tooManyAnnotations`':
    'It saves the API server the time of a loop, and no more.',
  "ValidatingAdmissionPolicy/gvisor-ready-enforce spec.variables.aiming.expression: '' to '~' in `t].exists(host, host != '') && !('probeHost' in va`":
    'The API server leaves an empty host out.',
  'MutatingAdmissionPolicy/gvisor-ready-inject spec.failurePolicy: "Fail" to "Ignore"':
    'A pod that was not given a runtime class is refused by gvisor-ready-enforce, in other words.',
  "MutatingAdmissionPolicy/gvisor-ready-inject spec.matchConditions.not-the-mirror-of-a-static-pod.expression: without `&& 'kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({})`":
    'NodeRestriction lets a kubelet create no pod but a mirror.',
  'MutatingAdmissionPolicy/gvisor-ready-inject spec.reinvocationPolicy: "IfNeeded" to "Never"':
    'It matters only beside a webhook that takes the class off again; gvisor-ready-enforce refuses such a pod.',
};
