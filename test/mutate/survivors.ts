/** Mutants that no case kills, by their id, and why that does not matter. */
export const SURVIVORS: Readonly<Record<string, string>> = {
  "ValidatingAdmissionPolicy/gvisor-ready-guard-namespace spec.variables.before.expression: 'false' to 'false~' in `equire-gvisor'].orValue('false')`":
    'What stands for no label is only compared with "true" and with what was written, so any word that is no slip will do.',
  'MutatingAdmissionPolicy/gvisor-ready-inject spec.failurePolicy: "Fail" to "Ignore"':
    'A pod that was not given a runtime class is refused by gvisor-ready-enforce, in other words.',
  "MutatingAdmissionPolicy/gvisor-ready-inject spec.matchConditions.not-the-mirror-of-a-static-pod.expression: without `&& 'kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({})`":
    'NodeRestriction lets a kubelet create no pod but a mirror.',
  'MutatingAdmissionPolicy/gvisor-ready-inject spec.reinvocationPolicy: "IfNeeded" to "Never"':
    'It matters only beside a webhook that takes the class off again; gvisor-ready-enforce refuses such a pod.',
};
