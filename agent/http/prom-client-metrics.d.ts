/** The parts of prom-client's default metrics, which have no types of their own. */
declare module 'prom-client/lib/metrics/*.js' {
  import type { Registry } from 'prom-client';

  const register: (registry: Registry) => void;
  export = register;
}
