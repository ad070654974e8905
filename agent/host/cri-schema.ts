import { map, message, repeated, service } from './descriptor.ts';

const NOTHING = message({});

const runtimeV1 = {
  RuntimeService: service(
    [
      'Version',
      'Status',
      'RuntimeConfig',
      'RunPodSandbox',
      'StopPodSandbox',
      'RemovePodSandbox',
      'PodSandboxStatus',
      'ListPodSandbox',
      'CreateContainer',
      'StartContainer',
      'ListContainers',
      'ExecSync',
    ],
    {
      GetContainerEvents: {
        requestType: 'GetEventsRequest',
        responseType: 'ContainerEventResponse',
        responseStream: true,
      },
    },
  ),
  ImageService: service(['ImageStatus']),

  VersionRequest: message({ version: [1, 'string'] }),
  VersionResponse: message({ runtimeName: [2, 'string'], runtimeVersion: [3, 'string'] }),

  StatusRequest: message({ verbose: [1, 'bool'] }),
  StatusResponse: message({
    status: [1, 'RuntimeStatus'],
    info: [2, map('string')],
    runtimeHandlers: [3, repeated('RuntimeHandler')],
  }),
  RuntimeStatus: message({ conditions: [1, repeated('RuntimeCondition')] }),
  RuntimeCondition: message({
    type: [1, 'string'],
    status: [2, 'bool'],
    reason: [3, 'string'],
    message: [4, 'string'],
  }),
  RuntimeHandler: message({ name: [1, 'string'] }),

  RuntimeConfigRequest: NOTHING,
  RuntimeConfigResponse: message({ linux: [1, 'LinuxRuntimeConfiguration'] }),
  LinuxRuntimeConfiguration: message({ cgroupDriver: [1, 'CgroupDriver'] }),
  CgroupDriver: { values: { SYSTEMD: 0, CGROUPFS: 1 } },

  PodSandboxMetadata: message({
    name: [1, 'string'],
    uid: [2, 'string'],
    namespace: [3, 'string'],
    attempt: [4, 'uint32'],
  }),
  PodSandboxConfig: message({
    metadata: [1, 'PodSandboxMetadata'],
    hostname: [2, 'string'],
    logDirectory: [3, 'string'],
    labels: [6, map('string')],
    annotations: [7, map('string')],
    linux: [8, 'LinuxPodSandboxConfig'],
  }),
  LinuxPodSandboxConfig: message({
    cgroupParent: [1, 'string'],
    securityContext: [2, 'LinuxSandboxSecurityContext'],
  }),
  LinuxSandboxSecurityContext: message({ namespaceOptions: [1, 'NamespaceOption'] }),
  NamespaceOption: message({
    network: [1, 'NamespaceMode'],
    pid: [2, 'NamespaceMode'],
    ipc: [3, 'NamespaceMode'],
  }),
  NamespaceMode: { values: { POD: 0, CONTAINER: 1, NODE: 2, TARGET: 3 } },

  RunPodSandboxRequest: message({ config: [1, 'PodSandboxConfig'], runtimeHandler: [2, 'string'] }),
  RunPodSandboxResponse: message({ podSandboxId: [1, 'string'] }),
  StopPodSandboxRequest: message({ podSandboxId: [1, 'string'] }),
  StopPodSandboxResponse: NOTHING,
  RemovePodSandboxRequest: message({ podSandboxId: [1, 'string'] }),
  RemovePodSandboxResponse: NOTHING,
  PodSandboxStatusRequest: message({ podSandboxId: [1, 'string'], verbose: [2, 'bool'] }),
  PodSandboxStatusResponse: message({ status: [1, 'PodSandboxStatus'], info: [2, map('string')] }),
  PodSandboxStatus: message({ id: [1, 'string'], state: [3, 'PodSandboxState'] }),
  PodSandboxState: { values: { SANDBOX_READY: 0, SANDBOX_NOTREADY: 1 } },
  ListPodSandboxRequest: message({ filter: [1, 'PodSandboxFilter'] }),
  PodSandboxFilter: message({
    id: [1, 'string'],
    state: [2, 'PodSandboxStateValue'],
    labelSelector: [3, map('string')],
  }),
  PodSandboxStateValue: message({ state: [1, 'PodSandboxState'] }),
  ListPodSandboxResponse: message({ items: [1, repeated('PodSandbox')] }),
  PodSandbox: message({
    id: [1, 'string'],
    metadata: [2, 'PodSandboxMetadata'],
    state: [3, 'PodSandboxState'],
    createdAt: [4, 'int64'],
    labels: [5, map('string')],
    runtimeHandler: [7, 'string'],
  }),

  GetEventsRequest: NOTHING,
  ContainerEventResponse: message({
    containerId: [1, 'string'],
    containerEventType: [2, 'ContainerEventType'],
  }),
  ContainerEventType: {
    values: {
      CONTAINER_CREATED_EVENT: 0,
      CONTAINER_STARTED_EVENT: 1,
      CONTAINER_STOPPED_EVENT: 2,
      CONTAINER_DELETED_EVENT: 3,
    },
  },

  ImageSpec: message({ image: [1, 'string'] }),
  ContainerMetadata: message({ name: [1, 'string'], attempt: [2, 'uint32'] }),
  ContainerConfig: message({
    metadata: [1, 'ContainerMetadata'],
    image: [2, 'ImageSpec'],
    command: [3, repeated('string')],
    mounts: [7, repeated('Mount')],
    labels: [9, map('string')],
    logPath: [11, 'string'],
    linux: [15, 'LinuxContainerConfig'],
  }),
  Mount: message({ containerPath: [1, 'string'], hostPath: [2, 'string'], readonly: [3, 'bool'] }),
  LinuxContainerConfig: message({ securityContext: [2, 'LinuxContainerSecurityContext'] }),
  LinuxContainerSecurityContext: message({
    capabilities: [1, 'Capability'],
    namespaceOptions: [3, 'NamespaceOption'],
    runAsUser: [5, 'Int64Value'],
    readonlyRootfs: [7, 'bool'],
    noNewPrivs: [11, 'bool'],
  }),
  Capability: message({ dropCapabilities: [2, repeated('string')] }),
  Int64Value: message({ value: [1, 'int64'] }),
  CreateContainerRequest: message({
    podSandboxId: [1, 'string'],
    config: [2, 'ContainerConfig'],
    sandboxConfig: [3, 'PodSandboxConfig'],
  }),
  CreateContainerResponse: message({ containerId: [1, 'string'] }),
  StartContainerRequest: message({ containerId: [1, 'string'] }),
  StartContainerResponse: NOTHING,
  ExecSyncRequest: message({
    containerId: [1, 'string'],
    cmd: [2, repeated('string')],
    timeout: [3, 'int64'],
  }),
  ExecSyncResponse: message({ stdout: [1, 'bytes'], stderr: [2, 'bytes'], exitCode: [3, 'int32'] }),
  ListContainersRequest: message({ filter: [1, 'ContainerFilter'] }),
  ContainerFilter: message({ labelSelector: [4, map('string')] }),
  ListContainersResponse: message({ containers: [1, repeated('Container')] }),
  Container: message({
    id: [1, 'string'],
    podSandboxId: [2, 'string'],
    metadata: [3, 'ContainerMetadata'],
    imageRef: [5, 'string'],
    labels: [8, map('string')],
  }),

  ImageStatusRequest: message({ image: [1, 'ImageSpec'] }),
  ImageStatusResponse: message({ image: [1, 'Image'] }),
  Image: message({ id: [1, 'string'] }),
};

// An Any's value is bytes that hold a message; on the wire that is the same as the message itself.
const introspectionV1 = {
  Introspection: service(['PluginInfo']),
  PluginInfoRequest: message({ type: [1, 'string'], id: [2, 'string'], options: [3, 'AnyRuntimeRequest'] }),
  AnyRuntimeRequest: message({ typeUrl: [1, 'string'], value: [2, 'RuntimeRequest'] }),
  RuntimeRequest: message({ runtimePath: [1, 'string'] }),
  PluginInfoResponse: message({ extra: [2, 'AnyRuntimeInfo'] }),
  AnyRuntimeInfo: message({ typeUrl: [1, 'string'], value: [2, 'RuntimeInfo'] }),
  RuntimeInfo: message({ name: [1, 'string'], version: [2, 'RuntimeVersion'] }),
  RuntimeVersion: message({ version: [1, 'string'] }),
};

/**
 * The messages and methods of the CRI and of containerd's introspection service that this agent uses,
 * as a protobuf descriptor in JSON. Numbers are those of the public APIs; fields that nobody reads here
 * are left out, which protobuf allows.
 * Source: https://github.com/kubernetes/cri-api/blob/v0.36.3/pkg/apis/runtime/v1/api.proto and
 * https://github.com/containerd/containerd/blob/v2.4.2/api/services/introspection/v1/introspection.proto
 * Services: `runtime.v1.*` and `containerd.services.introspection.v1.*`.
 */
export const CRI_SCHEMA = {
  nested: {
    runtime: { nested: { v1: { nested: runtimeV1 } } },
    containerd: {
      nested: { services: { nested: { introspection: { nested: { v1: { nested: introspectionV1 } } } } } },
    },
  },
};
