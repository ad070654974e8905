import { status } from '@grpc/grpc-js';
import { fromJSON, type ServiceDefinition } from '@grpc/proto-loader';
import { SCHEMA } from '../../../lib/containerd/schema.ts';

const DEFINITIONS = fromJSON(SCHEMA.toJSON(), { longs: Number, enums: String, defaults: true });

/** containerd's services in the fake; `nameOf` gives the name of a method in scripts. */
export const SERVICES = Object.entries(DEFINITIONS).flatMap(([name, each]) => {
  if ('format' in each) return []; // a message
  const definition = each as ServiceDefinition;
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
