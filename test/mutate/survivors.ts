/** Surviving mutants by ID, and why they are equivalent. */
export const SURVIVORS: Readonly<Record<string, string>> = {
  'ValidatingAdmissionPolicy/gvisor-ready-agent spec.validations.3.expression: without `!variables.checksLabels ||`':
    'It only saves the API server a loop.',
  'ValidatingAdmissionPolicy/gvisor-ready-agent spec.validations.4.expression: without `!variables.checksLabels ||`':
    'It only saves the API server a loop.',
  'ValidatingAdmissionPolicy/gvisor-ready-agent spec.validations.7.expression: without `!variables.checksAnnotations ||`':
    'It only saves the API server a loop.',
  'ValidatingAdmissionPolicy/gvisor-ready-agent spec.validations.8.expression: without `!variables.checksAnnotations ||`':
    'It only saves the API server a loop.',
  "ValidatingAdmissionPolicy/gvisor-ready-agent spec.validations.14.expression: 'conditions' to 'conditions~' in `dStatus.all(key, key == 'conditions' || key in variables.new`":
    "Another rule protects the kubelet's conditions, so the list always exists.",
  "ValidatingAdmissionPolicy/gvisor-ready-agent spec.validations.14.expression: without `key == 'conditions' ||` (2)":
    "Another rule protects the kubelet's conditions, so the list always exists.",
  'ValidatingAdmissionPolicy/gvisor-ready-pods spec.failurePolicy: "Fail" to "Ignore"':
    'Its expression cannot fail.',
  'ValidatingAdmissionPolicy/gvisor-ready-fleet spec.validations.0: without it':
    'Other rules then fail, and an error refuses the write.',
  'ValidatingAdmissionPolicy/gvisor-ready-fleet spec.validations.1.expression: without `variables.newLabels == variables.oldLabels ||`':
    'It only saves the API server a loop.',
  'ValidatingAdmissionPolicy/gvisor-ready-fleet spec.validations.5.expression: without `key in variables.writtenMetadata ||` (2)':
    'The controller cannot remove labels, so the map always exists.',
  "ValidatingAdmissionPolicy/gvisor-ready-fleet spec.validations.6.expression: without `key == 'conditions' ||` (2)":
    "Another rule protects the kubelet's conditions, so the list always exists.",
  "ValidatingAdmissionPolicy/gvisor-ready-fleet spec.validations.6.expression: 'conditions' to 'conditions~' in `dStatus.all(key, key == 'conditions' || key in variables.new`":
    "Another rule protects the kubelet's conditions, so the list always exists.",
  "ValidatingAdmissionPolicy/gvisor-ready-fleet-events spec.validations.1.expression: startsWith to contains in `quest.userInfo.username.startsWith('system:serviceaccount:`":
    'The name of a service account contains this text only as its prefix.',
  'ValidatingAdmissionPolicy/gvisor-ready-node-keys spec.variables.oldNode.expression: always false: `oldObject == null`':
    'The API server of the tests treats an optional field of null as absent; older ones are untested.',
  'ValidatingAdmissionPolicy/gvisor-ready-node-keys spec.variables.changed.expression: always false: `variables.tooMany`':
    'It only saves the API server the loops: another rule refuses the write.',
  'ValidatingAdmissionPolicy/gvisor-ready-node-keys spec.variables.changed.expression: without `variables.newConditions == variables.oldConditions ||`':
    'It only saves the API server two loops.',
  'ValidatingAdmissionPolicy/gvisor-ready-node-keys spec.variables.changed.expression: always false: `variables.labelsAreKept`':
    'It only saves the API server two loops.',
  'ValidatingAdmissionPolicy/gvisor-ready-node-keys spec.variables.changed.expression: always false: `variables.annotationsAreKept`':
    'It only saves the API server two loops.',
  "ValidatingAdmissionPolicy/gvisor-ready-guard-namespace spec.variables.before.expression: 'false' to 'false~' in `y.dev/require'].orValue('false')`":
    'The default for a missing label is only compared with "true" and the new value, so any other value is equivalent.',
  "ValidatingAdmissionPolicy/gvisor-ready-guard-namespace spec.variables.consentBefore.expression: 'false' to 'false~' in `w-host-kernel'].orValue('false')`":
    'The default for a missing label is only compared with "true" and the new value.',
  'ValidatingAdmissionPolicy/gvisor-ready-enforce spec.variables.gvisorAnnotations.expression: always false: `variables.tooManyAnnotations`':
    'It only saves the API server a loop.',
  "ValidatingAdmissionPolicy/gvisor-ready-enforce spec.variables.aiming.expression: '' to '~' in `t].exists(host, host != '') && !('probeHost' in va`":
    'The API server omits an empty host.',
  'MutatingAdmissionPolicy/gvisor-ready-inject spec.failurePolicy: "Fail" to "Ignore"':
    'gvisor-ready-enforce denies a pod without a runtime class, with another message.',
  "MutatingAdmissionPolicy/gvisor-ready-inject spec.matchConditions.not-the-mirror-of-a-static-pod.expression: without `&& 'kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({})`":
    'NodeRestriction allows a kubelet to create mirror pods only.',
  'MutatingAdmissionPolicy/gvisor-ready-inject spec.reinvocationPolicy: "IfNeeded" to "Never"':
    'It matters only with a webhook that removes the class; gvisor-ready-enforce denies such a pod.',
};
