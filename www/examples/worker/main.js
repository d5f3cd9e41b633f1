import wasm from 'rsafe/cpu.wasm';
import { createGuard } from 'rsafe/workerd';

// One guard serves all requests; a load that failed is tried again by the next one.
let guard;
const loaded = (fetch) => (guard ??= load(fetch).catch((error) => ((guard = undefined), Promise.reject(error))));
// Assets are found by path, whatever the host.
const load = (fetch) => createGuard({ wasm, model: 'https://assets.local/', fetch });

export default {
  async fetch(request, env, context) {
    try {
      const { messages } = await request.json();
      const checking = (await loaded(env.ASSETS)).check(messages);
      // A client that hangs up does not stop the work on which the next one waits.
      context.waitUntil(checking.catch(() => {}));
      const { decision, score } = await checking;
      return Response.json({ decision, score }, { status: decision === 'block' ? 403 : 200 });
    } catch ({ code, message }) {
      // What could not be judged is not allowed.
      return Response.json({ code, message }, { status: code === 'bad_input' ? 400 : 503 });
    }
  },
};
