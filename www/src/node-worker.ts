/** The script of a guard's worker thread in Node. */

import { parentPort } from 'node:worker_threads';
import { LocalEngine } from './local.ts';
import { nodeParts } from './node-parts.ts';
import type { FromWorker, ToWorker } from './protocol.ts';
import { serve } from './serve.ts';

const post = (message: FromWorker) => parentPort?.postMessage(message);
const take = serve(post, (spec, hooks) => LocalEngine.load(nodeParts(), spec, hooks));

parentPort?.on('message', (message: ToWorker) => take(message));

// What is nobody's rejection ends the thread, but a call that waits for a trapped instance would say why it failed.
process.on('unhandledRejection', (reason) => {
  if (!(reason instanceof WebAssembly.RuntimeError)) throw reason;
  post({ type: 'trapped', why: reason.message });
});

post({ type: 'hello', lock: undefined });
