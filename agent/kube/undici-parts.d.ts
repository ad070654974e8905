/** The parts of undici that the agent loads, which have no types of their own; all of it costs each node 6 MiB. */
declare module 'undici/lib/dispatcher/agent.js' {
  import { Agent } from 'undici';

  export = Agent;
}

declare module 'undici/lib/api/api-request.js' {
  import type { Dispatcher } from 'undici';

  const request: (
    this: Dispatcher,
    options: Dispatcher.RequestOptions<unknown>,
  ) => Promise<Dispatcher.ResponseData>;
  export = request;
}
