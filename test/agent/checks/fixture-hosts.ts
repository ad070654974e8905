/**
 * For each fixture: the containerd release that runs there (it has loaded what is on disk, unless the files
 * would keep it from starting), and what every check says that does not pass, as `status weight? reason`.
 */
export const HOSTS: Readonly<
  Record<string, { release: string; handler?: string; not: Readonly<Record<string, string>> }>
> = {
  'kubeadm-ready': { release: 'v2.4.2', not: {} },
  'debian-ready': { release: '1.7.24~ds1', not: {} },
  'k3s-ready': { release: 'v2.1.5-k3s1', not: {} },
  'rke2-ready': { release: 'v2.1.5-k3s1', not: {} },
  'k0s-ready': { release: 'v2.2.2', not: {} },
  'microk8s-ready': { release: '1.7.28', not: {} },
  'aks-symlink': {
    release: 'v2.0.7',
    not: {
      kernel: 'unknown CheckFailed',
      'user-namespaces': 'unknown CheckFailed',
      shim: 'unknown CheckFailed',
      runsc: 'unknown CheckFailed',
      'runsc-release': 'skipped',
      sidecars: 'skipped',
    },
  },
  'talos-ready': {
    release: 'v2.1.4',
    not: { 'runsc-release': 'unknown ReleaseUnknown', sidecars: 'unknown ReleaseUnknown' },
  },
  'kubeadm-v2-table-in-v3': {
    release: 'v2.1.5',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'kubeadm-unimported-drop-in': {
    release: 'v2.2.2',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'kubeadm-no-config': {
    release: 'v2.4.2',
    not: notLoaded('HandlerNotConfigured'),
  },
  'kubeadm-v2-root-v3-drop-in': {
    release: 'v2.2.2',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'kubeadm-v3-root-v2-drop-in': {
    release: 'v2.0.7',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'kubeadm-runc-in-disguise': {
    release: 'v2.4.2',
    not: {
      'handler-runtime': 'fail error HandlerRunsRunc',
      shim: 'unknown CheckFailed',
      'runsc-config': 'skipped',
    },
  },
  'kubeadm-shim-is-runc': { release: 'v2.4.2', not: { 'handler-runtime': 'fail error HandlerRunsRunc' } },
  'kubeadm-binary-name-runc': {
    release: 'v2.4.2',
    not: {
      'handler-runtime': 'fail error HandlerRunsRunc',
      'runsc-release': 'unknown ReleaseUnknown',
      sidecars: 'unknown ReleaseUnknown',
    },
  },
  'kubeadm-weakened': { release: 'v2.4.2', not: {} },
  'kubeadm-sidecar-missing': { release: 'v2.4.2', not: { sidecars: 'fail warning SidecarMissing' } },
  'debian-shim-missing': { release: '1.7.24~ds1', not: { shim: 'unknown CheckFailed' } },
  'debian-drop-in-replaces-section': {
    release: '1.7.24',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'debian-no-version': {
    release: '1.7.24',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'debian-unquoted-plugin': {
    release: '1.7.24',
    not: notLoaded('ContainerdConfigInvalid'),
  },
  'debian-truncated': {
    release: '1.7.24',
    not: notLoaded('ContainerdConfigInvalid'),
  },
  'debian-self-import': { release: '1.7.24', not: {} },
  'debian-missing-import': {
    release: '1.7.24',
    not: notLoaded('ContainerdConfigInvalid'),
  },
  'debian-cri-disabled': {
    release: '1.7.24',
    not: notLoaded('ContainerdConfigInvalid'),
  },
  'debian-bare-bool': {
    release: '1.7.24',
    not: { 'runsc-config': 'fail error RunscConfigInvalid' },
  },
  'debian-v3-on-1.7': {
    release: '1.7.24',
    not: notLoaded('ContainerdConfigInvalid'),
  },
  'debian-old-kernel': {
    release: '1.7.24',
    not: {
      kernel: 'fail error KernelUnsupported',
      'user-namespaces': 'fail error UserNamespacesDisabled',
    },
  },
  'cos-gvisor': { release: '1.7.29', handler: 'gvisor', not: {} },
  'flatcar-sysext': { release: '1.7.27', not: notLoaded('HandlerInIgnoredTable') },
  'eks-al2023-drop-in': { release: '2.1.5', not: notLoaded('HandlerInIgnoredTable') },
  'k3s-template-not-rendered': { release: 'v2.1.5-k3s1', not: notLoaded('HandlerInIgnoredTable') },
  'bottlerocket-no-userns': {
    release: '2.1.4+bottlerocket',
    not: {
      'user-namespaces': 'fail error UserNamespacesDisabled',
      shim: 'unknown CheckFailed',
      runsc: 'unknown CheckFailed',
      'runsc-release': 'skipped',
      sidecars: 'skipped',
    },
  },
  'k3s-drop-in-of-old-generation': {
    release: 'v2.1.5-k3s1',
    not: notLoaded('HandlerInIgnoredTable'),
  },
};

/** What checks say when containerd has no handler, and would have none after a restart. */
function notLoaded(reason: string): Readonly<Record<string, string>> {
  const ids = ['handler-current', 'handler-runtime', 'runsc-config'];
  const nothing = Object.fromEntries(ids.map((id) => [id, 'skipped']));
  return {
    ...nothing,
    'handler-configured': `fail error ${reason}`,
    'handler-loaded': 'fail error HandlerNotLoaded',
  };
}
