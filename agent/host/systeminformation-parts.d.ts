/** The part of systeminformation that the agent loads; other parts start programs. */
declare module 'systeminformation/lib/memory.js' {
  export { mem } from 'systeminformation';
}
