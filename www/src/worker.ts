/** The script of a guard's worker: `rsafe/worker`, imported for what it does. */

import { browserParts } from './browser.ts';
import { LocalEngine } from './local.ts';
import type { FromWorker } from './protocol.ts';
import { serve } from './serve.ts';

const scope = globalThis as unknown as { postMessage(message: FromWorker): void };
const post = (message: FromWorker) => scope.postMessage(message);
const take = serve(post, (spec, hooks) => LocalEngine.load(browserParts(spec), spec, hooks));

addEventListener('message', (event) => take((event as MessageEvent<unknown>).data));

// A trap in what the GPU calls back, say, is nobody's rejection; the call that waits for it would wait for ever.
addEventListener('unhandledrejection', ({ reason }) => {
  if (reason instanceof WebAssembly.RuntimeError) post({ type: 'trapped', why: reason.message });
});

/** Holds a lock for as long as this worker lives, so that the page learns of its end. */
function hold(): Promise<string | undefined> {
  const { locks } = navigator;
  if (!locks) return Promise.resolve(undefined);
  const name = `rsafe/worker/${crypto.randomUUID()}`;
  return new Promise((resolve) => {
    const forever = () => new Promise<never>(() => resolve(name));
    locks.request(name, forever).catch(() => resolve(undefined));
  });
}

hold().then((lock) => post({ type: 'hello', lock }));
