import { status } from '@grpc/grpc-js';
import { fromJSON, type ServiceDefinition } from '@grpc/proto-loader';
import { SCHEMA } from '../../../agent/containerd/schema.ts';

const DEFINITIONS = fromJSON(SCHEMA.toJSON(), { longs: Number, enums: String, defaults: true });

/** The services of containerd that the fake has, each with the name of a method as scripts call it. */
export const SERVICES = Object.entries(DEFINITIONS).flatMap(([name, definition]) => {
  if ('format' in definition) return []; // a message
  const service = /\.(Tasks|Containers)$/.test(name) ? `${name.split('.').at(-1)}.` : '';
  return { definition: definition as ServiceDefinition, nameOf: (method: string) => `${service}${method}` };
});

/** An answer that is an error of that gRPC code. */
export class Refusal extends Error {
  readonly code: number;

  constructor(details: string, code: number = status.UNKNOWN) {
    super(details);
    this.code = code;
  }
}

/** What a method is asked. */
// biome-ignore lint/suspicious/noExplicitAny: a request is whatever the schema says of its method
export type Request = any;

/** What a method answers; a promise that never settles is a call that hangs. */
export type Script = (request: Request) => object | Promise<object>;

/** A call that is never answered. */
export const HANGS: Script = () => Promise.withResolvers<object>().promise;

/** A script for each method: a containerd that was stopped in its tracks. */
export const ALL_HANG: Readonly<Record<string, Script>> = Object.fromEntries(
  SERVICES.flatMap(({ definition, nameOf }) => Object.keys(definition).map(nameOf)).map((method) => [
    method,
    HANGS,
  ]),
);

/** A call that is answered with bytes that are no message. */
export const GARBAGE: Script = () => ({ garbage: true });

/** A call that fails with these words. */
export const refuses =
  (details: string, code?: number): Script =>
  () => {
    throw new Refusal(details, code);
  };
