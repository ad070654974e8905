/** The only part of systeminformation that the agent loads: the whole package costs 7 MiB of memory and 285 KB of bundle. */
declare module 'systeminformation/lib/memory.js' {
  export { mem } from 'systeminformation';
}
