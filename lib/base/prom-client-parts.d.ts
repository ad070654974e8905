/** Untyped parts of prom-client, each for one or a few metrics. */
declare module 'prom-client/lib/metrics/*' {
  import type { Registry } from 'prom-client';

  const register: (registry: Registry) => void;
  export = register;
}
