import protobuf from 'protobufjs/light.js';

type FieldType = string | { readonly type: string; readonly rule?: 'repeated'; readonly keyType?: string };

/** From `{ name: [number, type] }`. */
function message(fields: Readonly<Record<string, readonly [id: number, type: FieldType]>>) {
  const entries = Object.entries(fields).map(([name, [id, type]]) => [
    name,
    typeof type === 'string' ? { id, type } : { id, ...type },
  ]);
  return { fields: Object.fromEntries(entries) };
}

/** Adds a method for each pair of `<method>Request` and `<method>Response`. */
function withService(service: string, messages: Readonly<Record<string, object>>) {
  const names = Object.keys(messages).map((name) => name.replace(/Request$/, ''));
  const methods = names.flatMap((name) => {
    const [requestType, responseType] = [`${name}Request`, `${name}Response`];
    return requestType in messages && responseType in messages ? [[name, { requestType, responseType }]] : [];
  });
  return { ...messages, [service]: { methods: Object.fromEntries(methods) } };
}

const repeated = (type: string): FieldType => ({ type, rule: 'repeated' });
const map = (type: string): FieldType => ({ type, keyType: 'string' });

const NOTHING = message({});

// Message names are ours: the wire carries only the service's path and field numbers.
const runtimeV1 = {
  VersionRequest: NOTHING,
  VersionResponse: message({ runtimeName: [2, 'string'], runtimeVersion: [3, 'string'] }),

  StatusRequest: message({ verbose: [1, 'bool'] }),
  StatusResponse: message({ status: [1, 'RuntimeStatus'], info: [2, map('string')] }),
  RuntimeStatus: message({ conditions: [1, repeated('RuntimeCondition')] }),
  RuntimeCondition: message({
    type: [1, 'string'],
    status: [2, 'bool'],
    reason: [3, 'string'],
    message: [4, 'string'],
  }),

  PodSandboxMetadata: message({ name: [1, 'string'], uid: [2, 'string'], namespace: [3, 'string'] }),
  PodSandboxConfig: message({
    metadata: [1, 'PodSandboxMetadata'],
    labels: [6, map('string')],
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
  PodSandboxStatus: message({ state: [3, 'PodSandboxState'] }),
  PodSandboxState: { values: { SANDBOX_READY: 0, SANDBOX_NOTREADY: 1 } },
  ListPodSandboxRequest: message({ filter: [1, 'PodSandboxFilter'] }),
  PodSandboxFilter: message({ state: [2, 'PodSandboxStateValue'] }),
  PodSandboxStateValue: message({ state: [1, 'PodSandboxState'] }),
  ListPodSandboxResponse: message({ items: [1, repeated('PodSandbox')] }),
  // Without labels: those of a dozen pods could exceed this process's memory limit.
  PodSandbox: message({
    id: [1, 'string'],
    metadata: [2, 'PodSandboxMetadata'],
    state: [3, 'PodSandboxState'],
    createdAt: [4, 'int64'],
    runtimeHandler: [7, 'string'],
  }),
  ListContainersRequest: NOTHING,
  ListContainersResponse: message({ containers: [1, repeated('Container')] }),
  Container: message({ id: [1, 'string'], podSandboxId: [2, 'string'], state: [6, 'ContainerState'] }),
  ContainerState: {
    values: { CONTAINER_CREATED: 0, CONTAINER_RUNNING: 1, CONTAINER_EXITED: 2, CONTAINER_UNKNOWN: 3 },
  },
};

// The bytes of an Any look like the embedded message.
const introspectionV1 = {
  ServerRequest: NOTHING,
  ServerResponse: message({ pid: [2, 'uint64'] }),
  PluginsRequest: message({ filters: [1, repeated('string')] }),
  PluginsResponse: message({ plugins: [1, repeated('Plugin')] }),
  Plugin: message({ type: [1, 'string'], id: [2, 'string'], initErr: [7, 'Status'] }),
  Status: message({ message: [2, 'string'] }),
  PluginInfoRequest: message({ type: [1, 'string'], id: [2, 'string'], options: [3, 'AnyRuntimeRequest'] }),
  AnyRuntimeRequest: message({ typeUrl: [1, 'string'], value: [2, 'RuntimeRequest'] }),
  RuntimeRequest: message({ runtimePath: [1, 'string'] }),
  PluginInfoResponse: message({ extra: [2, 'AnyRuntimeInfo'] }),
  AnyRuntimeInfo: message({ value: [2, 'RuntimeInfo'] }),
  RuntimeInfo: message({ name: [1, 'string'] }),
};

const tasksV1 = {
  CreateRequest: message({
    containerId: [1, 'string'],
    stdout: [5, 'string'],
    stderr: [6, 'string'],
    runtimePath: [10, 'string'],
  }),
  CreateResponse: message({ pid: [2, 'uint32'] }),
  StartRequest: message({ containerId: [1, 'string'] }),
  StartResponse: NOTHING,
  WaitRequest: message({ containerId: [1, 'string'] }),
  WaitResponse: NOTHING,
  KillRequest: message({ containerId: [1, 'string'], signal: [3, 'uint32'], all: [4, 'bool'] }),
  KillResponse: NOTHING,
  DeleteRequest: message({ containerId: [1, 'string'] }),
  DeleteResponse: NOTHING,
  ListPidsRequest: message({ containerId: [1, 'string'] }),
  ListPidsResponse: message({ processes: [1, repeated('ProcessInfo')] }),
  ProcessInfo: message({ pid: [1, 'uint32'] }),
};

const containersV1 = {
  CreateRequest: message({ container: [1, 'NewContainer'] }),
  CreateResponse: NOTHING,
  NewContainer: message({ id: [1, 'string'], runtime: [4, 'Runtime'], spec: [5, 'AnySpec'] }),
  Runtime: message({ name: [1, 'string'], options: [2, 'AnyOptions'] }),
  AnyOptions: message({ typeUrl: [1, 'string'], value: [2, 'Options'] }),
  Options: message({ typeUrl: [1, 'string'], configPath: [2, 'string'] }),
  AnySpec: message({ typeUrl: [1, 'string'], value: [2, 'bytes'] }),
  ListRequest: message({ filters: [1, repeated('string')] }),
  ListResponse: message({ containers: [1, repeated('Container')] }),
  Container: message({ id: [1, 'string'], labels: [2, map('string')], createdAt: [8, 'Timestamp'] }),
  Timestamp: message({ seconds: [1, 'int64'] }),
  DeleteRequest: message({ id: [1, 'string'] }),
  DeleteResponse: NOTHING,
};

const ttrpc = {
  Request: message({ service: [1, 'string'], method: [2, 'string'], payload: [3, 'ConnectRequest'] }),
  ConnectRequest: message({ id: [1, 'string'] }),
};

/**
 * The CRI and containerd's services, without unused fields.
 * https://github.com/kubernetes/cri-api/blob/v0.36.3/pkg/apis/runtime/v1/api.proto and
 * https://github.com/containerd/containerd/tree/v2.4.2/api (services introspection, tasks and containers v1,
 * runtimeoptions v1), and the request to a shim:
 * https://github.com/containerd/ttrpc/blob/v1.2.9/request.proto
 */
export const SCHEMA = new protobuf.Root();
SCHEMA.define('runtime.v1', withService('RuntimeService', runtimeV1));
SCHEMA.define('containerd.services.introspection.v1', withService('Introspection', introspectionV1));
SCHEMA.define('containerd.services.tasks.v1', withService('Tasks', tasksV1));
SCHEMA.define('containerd.services.containers.v1', withService('Containers', containersV1));
SCHEMA.define('ttrpc', ttrpc);
SCHEMA.resolveAll();
