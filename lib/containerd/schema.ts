import protobuf from 'protobufjs/light.js';
import PACKAGES from './schema.json' with { type: 'json' };

/**
 * The CRI, containerd's services and the request to a shim, without unused fields. Message names are ours: the
 * wire carries only the service's path and field numbers.
 */
export const SCHEMA = new protobuf.Root();
for (const { package: name, nested } of PACKAGES) SCHEMA.define(name, nested);
SCHEMA.resolveAll();
