type ReasonRow = {
  /** Set if a sandbox can have booted in gVisor: the node is withheld, and that is no evidence that gVisor fails. */
  readonly boots?: true;
  /** What to do. */
  readonly remedy: string;
};

const TABLE = {
  SandboxProven: {
    remedy: 'Nothing to do.',
  },
  InstallationUnderWay: {
    remedy:
      'Wait: the installer is at work, and its end triggers a proof. If it takes minutes, run "gvisor-ready-install status" on the node.',
  },
  KernelUnsupported: {
    remedy:
      'Boot a kernel and an architecture that runsc supports (Linux 4.14.77 or newer, x86_64 or arm64).',
  },
  UserNamespacesDisabled: {
    remedy: 'Set user.max_user_namespaces to 256 or more with sysctl, and keep it in /etc/sysctl.d.',
  },
  HandlerNotConfigured: {
    remedy:
      "Install gVisor with gvisor-ready-install, or add the handler to the runtimes table of containerd's configuration and restart containerd.",
  },
  HandlerInIgnoredTable: {
    remedy: 'Move the handler to the table that this configuration version reads, then restart containerd.',
  },
  ContainerdConfigInvalid: {
    remedy:
      'Repair the line that the message names before containerd restarts: it would not start pods with these files.',
  },
  ContainerdNotReady: {
    remedy: "Read containerd's log: containerd reports that it is not ready.",
  },
  HandlerNotLoaded: {
    remedy:
      'Restart containerd if "kubectl gvisor-ready why NODE" calls that safe, and read its log if the handler is still not loaded.',
  },
  RestartPending: {
    remedy:
      'Restart containerd if "kubectl gvisor-ready why NODE" calls that safe: its configuration is not the one on disk.',
  },
  HandlerRunsRunc: {
    remedy:
      'Set runtime_type of the handler to "io.containerd.runsc.v1" and restart containerd: pods run unsandboxed now.',
  },
  HandlerUsesRuncShim: {
    remedy: 'Set runtime_type of the handler to "io.containerd.runsc.v1": gVisor supports its own shim only.',
  },
  SandboxerUnsupported: {
    remedy:
      'Remove sandboxer = "shim" from the handler and restart containerd: no known release of gVisor starts sandboxes so, and the agent could not prove them.',
  },
  HandlerNotGvisor: {
    remedy: 'Set HANDLERS to the handler that runs gVisor, or runtime_type to "io.containerd.runsc.v1".',
  },
  ShimNotFound: {
    remedy:
      "Install containerd-shim-runsc-v1 of the same gVisor release in a directory of containerd's PATH.",
  },
  ShimNotExecutable: {
    remedy: 'Make containerd-shim-runsc-v1 a program of this architecture with mode 0755.',
  },
  RunscNotFound: {
    remedy: "Install runsc in a directory of containerd's PATH, or name it as binary_name in runsc.toml.",
  },
  RunscNotExecutable: {
    remedy: 'Make runsc a program of this architecture, readable and executable by everyone (mode 0755).',
  },
  RunscConfigInvalid: {
    remedy:
      "Repair the file that the handler's ConfigPath names: it must exist and be TOML with string values in [runsc_config].",
  },
  OptionIgnored: {
    remedy: "Correct or remove the named option: gVisor's shim does not read it.",
  },
  RunscTooOld: {
    boots: true,
    remedy: 'Install a newer gVisor release.',
  },
  SidecarMissing: {
    remedy: 'Install the gvisor-bin directory of the same release beside runsc.',
  },
  ReleaseSkew: {
    remedy: 'Install runsc, the shim and gvisor-bin from one release.',
  },
  IsolationWeakened: {
    boots: true,
    remedy:
      "Remove the named flag from [runsc_config], or what the message names from the handler's base_runtime_spec and restart containerd; or accept it knowingly.",
  },
  AnnotationsPassFlags: {
    boots: true,
    remedy:
      'Remove the named patterns from pod_annotations of the handler, or name only harmless annotations, such as dev.gvisor.spec.mount.*, and restart containerd.',
  },
  KvmMissing: {
    remedy:
      'Load the KVM module (kvm_intel, kvm_amd) on a machine with hardware or nested virtualization, and give the node /dev/kvm; or set platform = "systrap" in [runsc_config].',
  },
  KvmNotPermitted: {
    remedy:
      'Allow containerd and what it starts to open /dev/kvm: a device cgroup, a nodev mount or a security module denies it. Or set platform = "systrap" in [runsc_config].',
  },
  KvmRunsNoGuest: {
    remedy:
      'Set platform = "systrap" in [runsc_config]. If that boots, KVM does not run gVisor here, as happens on virtual machines. If not, find out what ends gVisor\'s processes (dmesg).',
  },
  SandboxFailed: {
    remedy: "Read the error; start a pod with this runtime class by hand and read containerd's log.",
  },
  SandboxStuck: {
    boots: true,
    remedy:
      "Read containerd's log for why a sandbox does not end, and check whether pods end. containerd 2.0.0 to 2.0.5 and 2.1.0 to 2.1.1 cannot stop gVisor pods: upgrade those.",
  },
  SandboxHangs: {
    remedy:
      "Find the hanging process of runsc (`ps -ef | grep runsc`), read containerd's log, and kill the process. Do not restart containerd before: containerd 1.7 would wait for it and not come back.",
  },
  SandboxDied: {
    remedy:
      "Find out what kills gVisor's processes: read the kernel's log (dmesg) for the OOM killer and for crashes. Is runsc a script that runs something else?",
  },
  LimitsNotEnforced: {
    boots: true,
    remedy:
      'Write systemd-cgroup = "true" into [runsc_config] where the kubelet uses the systemd driver, and remove it where it uses cgroupfs.',
  },
  GpuDriverUnsupported: {
    remedy:
      'Install one of the NVIDIA drivers that the message names, or a gVisor release that supports this one (docs/gpu.md). Until then pods with a GPU do not start here, and with the flag nvproxy no pod does.',
  },
  PodsCannotStart: {
    boots: true,
    remedy:
      "Take what the message names out of the handler's table in containerd's configuration or out of its base_runtime_spec, or put the missing program there, and restart containerd: sandboxes boot, but no container starts in them.",
  },
  NetworkNotReady: {
    boots: true,
    remedy:
      "Put a valid CNI configuration into the handler's cni_conf_dir, and the plugins that it names where containerd looks for them; or remove cni_conf_dir from the handler, so that its pods use the node's network, and restart containerd.",
  },
  GuestIsHostKernel: {
    remedy: "Do not run untrusted code here: the handler gives pods the host's kernel.",
  },
  GuestNotGVisor: {
    remedy: "Find out what the handler runs: the sandbox is neither gVisor's nor runc's.",
  },
  AgentLost: {
    remedy:
      "Find out why the agent's pod on this node is not Ready: kubectl get pods -A -o wide -l app.kubernetes.io/name=gvisor-ready. Its next proof restores the label.",
  },
  AgentCannotWrite: {
    remedy:
      'Repair what keeps the agent from writing its Node. After a 401 delete its pod, which gets a new token; after a 403 apply the manifests; otherwise find out why the pod does not reach the API server. Then it writes its verdict by itself.',
  },
  AgentStarting: {
    remedy: 'Wait for the first proof to end.',
  },
  NodeRebooted: {
    remedy:
      "Wait for the first proof in this boot. If none comes, find out why the agent's pod on this node is not Ready: kubectl get pods -A -o wide -l app.kubernetes.io/name=gvisor-ready.",
  },
  WritesUnguarded: {
    remedy:
      'Apply the admission policies of manifests/base, bound to Deny: without them this agent could write other nodes.',
  },
  ContainerdUnreachable: {
    remedy: 'Start containerd, or set CRI_SOCKET to the socket it listens on.',
  },
  CriPluginUnavailable: {
    remedy:
      "Repair what the message names in containerd's configuration, or take the plugin out of disabled_plugins, and restart containerd. If the kubelet uses another containerd, set CRI_SOCKET to its socket.",
  },
  RuntimeUnsupported: {
    remedy: 'Keep the agent off this node: it supports only containerd.',
  },
  WrongRuntime: {
    remedy:
      "Set CRI_SOCKET to the socket that the node's kubelet uses (its containerRuntimeEndpoint): pods run elsewhere.",
  },
  NodeExhausted: {
    remedy:
      'Free what the message names: processes, memory, files or disk space. Find the pod that uses it up, and limit pods (podPidsLimit, ephemeral-storage).',
  },
  NoSandboxStarts: {
    remedy:
      "Read containerd's log: no pod starts on this node, in gVisor or not. Has a pod used up the processes of all pods (podPidsLimit)?",
  },
  ReleaseUnknown: {
    remedy: 'Install an official gVisor release, or build runsc with its version set.',
  },
  GpuDriverUnknown: {
    remedy:
      'Compare "runsc nvproxy list-supported-drivers" with /proc/driver/nvidia/version on the node, and remove the flag nvproxy-driver-version if it is set (docs/gpu.md). Other pods are not affected.',
  },
  SandboxImageMissing: {
    remedy:
      'Load or pull the sandbox (pause) image that containerd is configured with: no pod starts without it.',
  },
  SandboxSlow: {
    remedy: "If the node is busy, nothing: the boot continues. On an idle node read containerd's log.",
  },
  NotVisible: {
    remedy:
      'Mount the directory that the message names into the agent, read-only, as the components for distributions do.',
  },
  ProbeInterrupted: {
    remedy:
      "If it passes, nothing: the kubelet stopped the probe's sandbox several times in a row before the agent inspected it. If it stays: is the host's /proc mounted with hidepid?",
  },
  CheckTimedOut: {
    remedy:
      'Find out why containerd or the disk does not respond: is a process stopped, is the node overloaded?',
  },
  CheckFailed: {
    remedy:
      'Read the message: the agent could not evaluate the node. The usual cause is missing permissions or mounts of the agent, or a node without free memory, processes or files.',
  },
} as const satisfies Readonly<Record<string, ReasonRow>>;

export type Reason = keyof typeof TABLE;

/** A reason with which a sandbox can have booted in gVisor. */
export type BootedReason = {
  [R in Reason]: (typeof TABLE)[R] extends { readonly boots: true } ? R : never;
}[Reason];

/** The code is the same in the condition, the event, the metric, the log, the report and the runbook. */
export const REASONS: Readonly<Record<Reason, ReasonRow>> = TABLE;
