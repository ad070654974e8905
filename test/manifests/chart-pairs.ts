/** Components of kustomize and the equivalent values of the chart. */
export type Pair = { readonly components: readonly string[]; readonly values: object };

/** One pair for each component. */
export const PAIRS: readonly Pair[] = [
  { components: [], values: {} },
  { components: ['k3s'], values: { distribution: 'k3s' } },
  { components: ['rke2'], values: { distribution: 'rke2' } },
  { components: ['k0s'], values: { distribution: 'k0s' } },
  { components: ['microk8s'], values: { distribution: 'microk8s' } },
  {
    components: ['kvm'],
    values: {
      settings: { HANDLERS: 'runsc,runsc-kvm' },
      runtimeClass: { additional: { 'runsc-kvm': 'gvisor-kvm' } },
    },
  },
  { components: ['taint'], values: { taint: { enabled: true } } },
  { components: ['install'], values: { install: { enabled: true } } },
  { components: ['canary'], values: { canary: { enabled: true, image: 'gvisor-ready-canary' } } },
  { components: ['node-readiness-rule'], values: { nodeReadinessRule: { enabled: true } } },
  { components: ['enforce'], values: { enforce: { enabled: true } } },
  { components: ['enforce', 'enforce-audit'], values: { enforce: { enabled: true, audit: true } } },
  { components: ['enforce', 'enforce-bindings'], values: { enforce: { enabled: true, bindings: true } } },
  { components: ['enforce', 'inject'], values: { enforce: { enabled: true, inject: true } } },
  { components: ['monitoring'], values: { monitoring: { enabled: true } } },
];

/** All components that can be combined, except kvm: with it the chart also names the main handler to the installer. */
export const ALL: Pair = {
  components: [
    'k3s',
    'taint',
    'install',
    'canary',
    'node-readiness-rule',
    'enforce',
    'enforce-bindings',
    'inject',
    'enforce-audit',
    'monitoring',
  ],
  values: {
    distribution: 'k3s',
    taint: { enabled: true },
    install: { enabled: true },
    canary: { enabled: true, image: 'gvisor-ready-canary' },
    nodeReadinessRule: { enabled: true },
    enforce: { enabled: true, audit: true, bindings: true, inject: true },
    monitoring: { enabled: true },
  },
};
