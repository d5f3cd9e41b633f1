/** The worker, and at `/memory` the bytes of each compiled instance's memory, which only grows: its size is its peak. */

import worker from '../edge/src/index.ts';

const memories: WebAssembly.Memory[] = [];

function metered(instance: WebAssembly.Instance): WebAssembly.Instance {
  for (const exported of Object.values(instance.exports)) {
    if (exported instanceof WebAssembly.Memory) memories.push(exported);
  }
  return instance;
}

const { instantiate, Instance } = WebAssembly;
Object.assign(WebAssembly, {
  instantiate: async (module: WebAssembly.Module, imports: WebAssembly.Imports) =>
    metered(await instantiate(module, imports)),
  // A proxy, so that `instanceof` still holds.
  Instance: new Proxy(Instance, { construct: (_, [module, imports]) => metered(new Instance(module, imports)) }),
});

export default {
  async fetch(request: Request, ...rest: [never, never]): Promise<Response> {
    if (new URL(request.url).pathname !== '/memory') return worker.fetch(request, ...rest);
    return Response.json(memories.map(({ buffer }) => buffer.byteLength));
  },
};
