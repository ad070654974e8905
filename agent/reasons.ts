/**
 * Every reason code, with the condition status it stands under and what a person should do about it.
 * The word is the same in the condition, the event, the metric, the log, the report and the runbook.
 */
export const REASONS = {
  SandboxProven: { status: 'True', remedy: 'Nothing to do.' },

  KernelUnsupported: {
    status: 'False',
    remedy:
      'Boot a kernel and an architecture that runsc supports (Linux 4.14.77 or newer, x86_64 or arm64).',
  },
  UserNamespacesDisabled: {
    status: 'False',
    remedy: 'Set user.max_user_namespaces to 256 or more with sysctl, and keep it in /etc/sysctl.d.',
  },
  HandlerNotConfigured: {
    status: 'False',
    remedy: "Add the handler to the runtimes table of containerd's configuration and restart containerd.",
  },
  HandlerInIgnoredTable: {
    status: 'False',
    remedy: 'Move the handler to the table that this configuration version reads, then restart containerd.',
  },
  ContainerdConfigInvalid: {
    status: 'False',
    remedy:
      'Repair the line that the message names before anything restarts containerd: it would not start pods with these files.',
  },
  ContainerdNotReady: {
    status: 'False',
    remedy: "Read containerd's log: containerd reports that it is not ready.",
  },
  HandlerNotLoaded: {
    status: 'False',
    remedy: 'Restart containerd, and read its log if the handler is still not loaded.',
  },
  RestartPending: {
    status: 'False',
    remedy: 'Restart containerd in a quiet moment: it runs with another configuration than the one on disk.',
  },
  HandlerRunsRunc: {
    status: 'False',
    remedy:
      'Set runtime_type of the handler to "io.containerd.runsc.v1" and restart containerd: pods run unsandboxed now.',
  },
  HandlerUsesRuncShim: {
    status: 'False',
    remedy: 'Set runtime_type of the handler to "io.containerd.runsc.v1": gVisor supports its own shim only.',
  },
  HandlerNotGvisor: {
    status: 'False',
    remedy: 'Set HANDLER to the handler that runs gVisor, or runtime_type to "io.containerd.runsc.v1".',
  },
  ShimNotFound: {
    status: 'False',
    remedy:
      "Install containerd-shim-runsc-v1 of the same gVisor release in a directory of containerd's PATH.",
  },
  ShimNotExecutable: {
    status: 'False',
    remedy: 'Make containerd-shim-runsc-v1 a program of this architecture with mode 0755.',
  },
  RunscNotFound: {
    status: 'False',
    remedy: "Install runsc in a directory of containerd's PATH, or name it as binary_name in runsc.toml.",
  },
  RunscNotExecutable: {
    status: 'False',
    remedy: 'Make runsc a program of this architecture, readable and executable by everyone (mode 0755).',
  },
  RunscConfigInvalid: {
    status: 'False',
    remedy:
      "Repair the file that the handler's ConfigPath names: it must exist and be TOML with string values in [runsc_config].",
  },
  OptionIgnored: {
    status: 'False',
    remedy: "Correct or remove the named option: gVisor's shim does not read it.",
  },
  RunscTooOld: { status: 'False', remedy: 'Install a newer gVisor release.' },
  SidecarMissing: {
    status: 'False',
    remedy: 'Install the gvisor-bin directory of the same release beside runsc.',
  },
  ReleaseSkew: {
    status: 'False',
    remedy: 'Install runsc, the shim and gvisor-bin from one release.',
  },
  IsolationWeakened: {
    status: 'False',
    remedy: 'Remove the named flag from [runsc_config], or accept it knowingly.',
  },
  SandboxFailed: {
    status: 'False',
    remedy: "Read the error; start a pod with this runtime class by hand and read containerd's log.",
  },
  SandboxStuck: {
    status: 'False',
    remedy:
      "See in containerd's log why a sandbox does not end, and whether pods end. containerd 2.0.0 to 2.0.5 and 2.1.0 to 2.1.1 cannot stop gVisor pods: upgrade those.",
  },
  SandboxHangs: {
    status: 'False',
    remedy:
      "See which process of runsc hangs (`ps -ef | grep runsc`) and read containerd's log; end it, or restart containerd.",
  },
  SandboxDied: {
    status: 'False',
    remedy:
      "See who ends gVisor's processes: read the kernel's log (dmesg) for the OOM killer and for crashes.",
  },
  LimitsNotEnforced: {
    status: 'False',
    remedy:
      'Write systemd-cgroup = "true" into [runsc_config] where the kubelet uses the systemd driver, and remove it where it uses cgroupfs.',
  },
  GuestIsHostKernel: {
    status: 'False',
    remedy: "Do not run untrusted code here: the handler gives pods the host's kernel.",
  },
  GuestNotGVisor: {
    status: 'False',
    remedy: "See what the handler runs: the sandbox is neither gVisor's nor runc's.",
  },

  AgentLost: {
    status: 'Unknown',
    remedy:
      "See why the agent's pod on this node is not Ready: kubectl -n gvisor-ready get pods -o wide. Its next proof restores the label.",
  },
  AgentStarting: { status: 'Unknown', remedy: 'Wait for the first proof to end.' },
  ContainerdUnreachable: {
    status: 'Unknown',
    remedy: 'Start containerd, or set CRI_SOCKET to the socket it listens on.',
  },
  RuntimeUnsupported: {
    status: 'Unknown',
    remedy: 'Keep the agent off this node: only containerd can be judged.',
  },
  ReleaseUnknown: {
    status: 'Unknown',
    remedy: 'Install an official gVisor release, or build runsc with its version set.',
  },
  SandboxImageMissing: {
    status: 'Unknown',
    remedy:
      'Load or pull the sandbox (pause) image that containerd is configured with: no pod starts without it.',
  },
  SandboxSlow: {
    status: 'Unknown',
    remedy: "Nothing, if the node is busy: the boot goes on. On an idle node read containerd's log.",
  },
  NotVisible: {
    status: 'Unknown',
    remedy:
      'Mount the folder that the message names into the agent, read-only, as the components for distributions do.',
  },
  ProbeInterrupted: {
    status: 'Unknown',
    remedy:
      "Nothing, if it passes: the kubelet stopped the probe's sandbox several times in a row before it was looked at.",
  },
  CheckTimedOut: {
    status: 'Unknown',
    remedy: 'See why containerd or the disk does not answer: is a process stopped, is the node overloaded?',
  },
  CheckFailed: {
    status: 'Unknown',
    remedy:
      'Read the message: the agent could not look. Permissions and mounts of the agent are the usual cause.',
  },
} as const satisfies Record<string, { status: 'True' | 'False' | 'Unknown'; remedy: string }>;

/** A reason code. */
export type Reason = keyof typeof REASONS;
