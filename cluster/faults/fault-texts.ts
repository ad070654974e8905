type FaultText = {
  readonly does: string;
  /** Symptoms. */
  readonly seen: string;
};

export const FAULT_TEXTS = {
  'shim-missing': {
    does: 'removes containerd-shim-runsc-v1',
    seen: 'gVisor pods stay in ContainerCreating: failed to start shim',
  },
  'runsc-missing': {
    does: 'removes runsc',
    seen: 'gVisor pods stay in ContainerCreating: "runsc": executable file not found in $PATH',
  },
  'runsc-not-executable': {
    does: 'takes the x bits off runsc',
    seen: 'gVisor pods stay in ContainerCreating: executable file not found in $PATH, though it is there',
  },
  'runsc-cannot-boot': {
    does: 'replaces runsc with a program that prints a version and fails at everything else',
    seen: 'gVisor pods stay in ContainerCreating: OCI runtime create failed; every file looks right',
  },
  'runsc-hangs': {
    does: 'replaces runsc with a program that prints a version and hangs at everything else',
    seen: 'gVisor pods stay in ContainerCreating without an error for minutes',
  },
  'handler-removed': {
    does: "removes the handler from containerd's configuration and restarts containerd",
    seen: 'gVisor pods stay in ContainerCreating: no runtime for "runsc" is configured',
  },
  'handler-edited': {
    does: "removes the handler from containerd's configuration and does not restart containerd",
    seen: 'nothing, until the next restart of containerd breaks every gVisor pod',
  },
  'handler-wrong-table': {
    does: 'moves the handler into the table that another version of the configuration reads, and restarts containerd',
    seen: 'the handler is in the file, but no runtime for "runsc" is configured',
  },
  'handler-runs-runc': {
    does: 'makes the handler named runsc run runc, and restarts containerd',
    seen: 'gVisor pods run, on the kernel of the host',
  },
  'config-missing': {
    does: "removes the file that the handler's ConfigPath names",
    seen: 'gVisor pods stay in ContainerCreating: decode config file … no such file or directory',
  },
  'config-not-toml': {
    does: "makes the file that the handler's ConfigPath names something else than TOML",
    seen: 'gVisor pods stay in ContainerCreating: decode config file … toml: line 1',
  },
  'containerd-stopped': {
    does: 'ends containerd',
    seen: 'running pods go on; the node becomes NotReady within a minute',
  },
  'containerd-hung': {
    does: 'stops containerd in its tracks (SIGSTOP): its socket accepts and never answers',
    seen: 'running pods go on; new ones wait; the node becomes NotReady after minutes',
  },
  'shims-hung': {
    does: 'stops the shims of the gVisor pods that run on the node (SIGSTOP)',
    seen: 'nothing, until containerd restarts: it waits 10 s for each shim, and loses its pod',
  },
  'sentries-hung': {
    does: 'stops the sentries of the gVisor pods that run on the node (SIGSTOP)',
    seen: 'the pods stand still and may stay in Terminating; containerd 1.7 does not come back from a restart',
  },
  'pause-image-missing': {
    does: 'removes the sandbox image, which can be pulled from nowhere',
    seen: 'no new pod starts, with gVisor or without: failed to pull image of the sandbox',
  },
  'kubelet-stopped': {
    does: 'ends the kubelet',
    seen: 'running pods go on; the node becomes NotReady after 40 s',
  },
  'api-down': {
    does: 'kills the API server of the whole cluster',
    seen: 'kubectl is refused; running pods go on',
  },
  'agent-killed': {
    does: 'kills the agent of the node (-9), which the kubelet starts again',
    seen: 'one more restart of the agent',
  },
} as const satisfies Readonly<Record<string, FaultText>>;

export type FaultName = keyof typeof FAULT_TEXTS;
