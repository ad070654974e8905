/** Untyped parts of undici: the whole package costs 6 MiB on each node. */
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
