/** A fixture host: containerd's release, and the expected outcomes of the checks that do not pass. */
export type FixtureHost = {
  readonly release: string;
  readonly outcomes: Readonly<Record<string, string>>;
  readonly handler?: string;
};

/** The outcomes when containerd has not loaded the handler, and would not after a restart. */
const notLoaded = (reason: string) => ({
  'handler-configured': `error ${reason}`,
  'handler-loaded': 'error HandlerNotLoaded',
  'handler-current': 'skipped',
  'handler-runtime': 'skipped',
  network: 'skipped',
  'runsc-config': 'skipped',
});
/** The outcomes when the programs are in no directory that the agent searches. */
const PROGRAMS_NOT_FOUND = {
  shim: 'unknown CheckFailed',
  runsc: 'unknown CheckFailed',
  'runsc-release': 'skipped',
  sidecars: 'skipped',
};
const RELEASE_UNKNOWN = { 'runsc-release': 'unknown ReleaseUnknown', sidecars: 'unknown ReleaseUnknown' };

/** The fixtures in test/fixtures/hosts. containerd has loaded the files on disk, unless it would not start with them. */
export const HOSTS: Readonly<Record<string, FixtureHost>> = {
  'kubeadm-ready': { release: 'v2.4.2', outcomes: {} },
  'debian-ready': { release: '1.7.24~ds1', outcomes: {} },
  'kubeadm-gpu': { release: 'v2.4.2', outcomes: {} },
  'kubeadm-gpu-unknown': { release: 'v2.4.2', outcomes: { gpu: 'unknown GpuDriverUnknown' } },
  'debian-gpu-unsupported': {
    release: '1.7.24~ds1',
    outcomes: { gpu: 'error GpuDriverUnsupported' },
  },
  'k3s-ready': { release: 'v2.1.5-k3s1', outcomes: {} },
  'rke2-ready': { release: 'v2.1.5-k3s1', outcomes: {} },
  'k0s-ready': { release: 'v2.2.2', outcomes: {} },
  'microk8s-ready': { release: '1.7.28', outcomes: {} },
  'aks-symlink': {
    release: 'v2.0.7',
    outcomes: {
      ...PROGRAMS_NOT_FOUND,
      kernel: 'unknown CheckFailed',
      'user-namespaces': 'unknown CheckFailed',
    },
  },
  'talos-ready': { release: 'v2.1.4', outcomes: RELEASE_UNKNOWN },
  'kubeadm-v2-table-in-v3': { release: 'v2.1.5', outcomes: notLoaded('HandlerInIgnoredTable') },
  'kubeadm-unimported-drop-in': { release: 'v2.2.2', outcomes: notLoaded('HandlerInIgnoredTable') },
  'kubeadm-no-config': { release: 'v2.4.2', outcomes: notLoaded('HandlerNotConfigured') },
  'kubeadm-v2-root-v3-drop-in': { release: 'v2.2.2', outcomes: notLoaded('HandlerInIgnoredTable') },
  'kubeadm-v3-root-v2-drop-in': { release: 'v2.0.7', outcomes: notLoaded('HandlerInIgnoredTable') },
  'kubeadm-runc-in-disguise': {
    release: 'v2.4.2',
    outcomes: {
      'handler-runtime': 'error HandlerRunsRunc',
      shim: 'unknown CheckFailed',
      'runsc-config': 'skipped',
    },
  },
  'kubeadm-shim-is-runc': { release: 'v2.4.2', outcomes: { 'handler-runtime': 'error HandlerRunsRunc' } },
  'kubeadm-binary-name-runc': {
    release: 'v2.4.2',
    outcomes: { ...RELEASE_UNKNOWN, 'handler-runtime': 'error HandlerRunsRunc' },
  },
  'kubeadm-weakened': { release: 'v2.4.2', outcomes: {} },
  'kubeadm-sidecar-missing': { release: 'v2.4.2', outcomes: { sidecars: 'warning SidecarMissing' } },
  'debian-shim-missing': { release: '1.7.24~ds1', outcomes: { shim: 'unknown CheckFailed' } },
  'debian-drop-in-replaces-section': { release: '1.7.24', outcomes: notLoaded('HandlerInIgnoredTable') },
  'debian-no-version': { release: '1.7.24', outcomes: notLoaded('HandlerInIgnoredTable') },
  'debian-unquoted-plugin': { release: '1.7.24', outcomes: notLoaded('ContainerdConfigInvalid') },
  'debian-truncated': { release: '1.7.24', outcomes: notLoaded('ContainerdConfigInvalid') },
  'debian-self-import': { release: '1.7.24', outcomes: {} },
  'debian-missing-import': { release: '1.7.24', outcomes: notLoaded('ContainerdConfigInvalid') },
  'debian-cri-disabled': { release: '1.7.24', outcomes: notLoaded('ContainerdConfigInvalid') },
  'debian-bare-bool': { release: '1.7.24', outcomes: { 'runsc-config': 'error RunscConfigInvalid' } },
  'debian-kvm-ready': { release: '1.7.24', outcomes: {} },
  'debian-kvm-unloaded': { release: '1.7.24', outcomes: { kvm: 'error KvmMissing' } },
  'debian-v3-on-1.7': { release: '1.7.24', outcomes: notLoaded('ContainerdConfigInvalid') },
  'debian-old-kernel': {
    release: '1.7.24',
    outcomes: { kernel: 'error KernelUnsupported', 'user-namespaces': 'error UserNamespacesDisabled' },
  },
  'cos-gvisor': { release: '1.7.29', handler: 'gvisor', outcomes: {} },
  'flatcar-sysext': { release: '1.7.27', outcomes: notLoaded('HandlerInIgnoredTable') },
  'eks-al2023-drop-in': { release: '2.1.5', outcomes: notLoaded('HandlerInIgnoredTable') },
  'k3s-template-not-rendered': { release: 'v2.1.5-k3s1', outcomes: notLoaded('HandlerInIgnoredTable') },
  'bottlerocket-no-userns': {
    release: '2.1.4+bottlerocket',
    outcomes: { ...PROGRAMS_NOT_FOUND, 'user-namespaces': 'error UserNamespacesDisabled' },
  },
  'k3s-drop-in-of-old-generation': { release: 'v2.1.5-k3s1', outcomes: notLoaded('HandlerInIgnoredTable') },
};
