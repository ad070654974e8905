import { status } from '@grpc/grpc-js';
import { fromJSON, type ServiceDefinition } from '@grpc/proto-loader';
import { SCHEMA as TASKS } from '../../../../installer/candidate.ts';
import { SCHEMA } from '../../../../lib/node/containerd/schema.ts';

/** containerd's services as the agent calls them, and further methods that only the installer calls. */
const DEFINITIONS = [TASKS, SCHEMA].map((each) =>
  fromJSON(each.toJSON(), { longs: Number, enums: String, defaults: true }),
);

/** containerd's services in the fake; `nameOf` gives the name of a method in scripts. */
export const SERVICES = Object.keys(DEFINITIONS[1] ?? {}).flatMap((name) => {
  const definition = Object.assign({}, ...DEFINITIONS.map((each) => each[name])) as ServiceDefinition;
  if ('format' in definition) return []; // a message
  const service = /\.(Tasks|Containers)$/.test(name) ? `${name.split('.').at(-1)}.` : '';
  return { definition, nameOf: (method: string) => `${service}${method}` };
});

/** A gRPC error as the response. */
export class Refusal extends Error {
  readonly code: number;

  constructor(details: string, code: number = status.UNKNOWN) {
    super(details);
    this.code = code;
  }
}

/** A request to any method. */
// biome-ignore lint/suspicious/noExplicitAny: the type of a request depends on its method
export type Request = any;

/** Response of a method, to a call in a namespace of containerd; a pending promise is a hanging call. */
export type Script = (request: Request, namespace?: string) => object | Promise<object>;

export const HANGS: Script = () => Promise.withResolvers<object>().promise;

export const ALL_HANG: Readonly<Record<string, Script>> = Object.fromEntries(
  SERVICES.flatMap(({ definition, nameOf }) => Object.keys(definition).map(nameOf)).map((method) => [
    method,
    HANGS,
  ]),
);

/** Responds with bytes that are not a message. */
export const GARBAGE: Script = () => ({ garbage: true });

export const refuses =
  (details: string, code?: number): Script =>
  () => {
    throw new Refusal(details, code);
  };
