/** The worker's half of the protocol: calls come in as messages, and what the local engine says goes out. */

import type { Engine, EngineMonitor, EngineSpec, LoadHooks } from './engine.ts';
import { GuardError, toGuardError, toWire } from './errors.ts';
import { readToWorker } from './messages.ts';
import type { Call, Calls, CallName, FromWorker } from './protocol.ts';

/** Answers messages with the engine that `load` gives. The function returned takes one message, whatever it is: a call that
 * makes no sense, or comes before there is a model, fails with `bad_input`; what is no call, and a call with the number of
 * one that runs, are passed over. */
export function serve(
  post: (message: FromWorker) => void,
  load: (spec: EngineSpec, hooks: LoadHooks) => Promise<Engine>,
): (data: unknown) => void {
  let engine: Engine | undefined;
  let loading = false;
  let monitors = 0;
  const open = new Map<number, EngineMonitor>();
  const running = new Map<number, { controller: AbortController; pulled: () => void }>();

  const loaded = (): Engine => {
    if (!engine)
      throw new GuardError('bad_input', 'expected a model first: nothing can be called before `load` is done');
    return engine;
  };
  const monitor = (number: number): EngineMonitor => {
    const found = open.get(number);
    if (!found) throw new GuardError('bad_input', `expected the number of an open monitor but got ${number}`);
    return found;
  };

  async function answer(call: Call, signal: AbortSignal): Promise<Calls[CallName]['get']> {
    switch (call.type) {
      case 'load': {
        if (loading || engine) throw new GuardError('bad_input', 'a worker loads one model; end it and start another');
        loading = true;
        try {
          engine = await load(call.spec, { signal, onProgress: (progress) => post({ type: 'progress', progress }) });
        } finally {
          loading = false;
        }
        return { info: engine.info, policy: engine.policy };
      }
      case 'check': {
        const { id, request, events } = call;
        if (!events) return loaded().check(request, { signal });
        return loaded().check(request, {
          signal,
          onEvent: (event) => {
            post({ type: 'event', id, event });
            return new Promise((resolve) => {
              const entry = running.get(id);
              if (entry) entry.pulled = resolve;
            });
          },
        });
      }
      case 'monitor': {
        const opened = await loaded().monitor(call.request, signal);
        open.set(++monitors, opened);
        return monitors;
      }
      case 'push':
        return monitor(call.monitor).push(call.text, signal);
      case 'checkNow':
        return monitor(call.monitor).checkNow(signal);
      case 'finish':
        return monitor(call.monitor).finish(signal);
      case 'policy':
        return loaded().setPolicy(call.policy);
    }
  }

  const fail = (id: number, error: unknown) => post({ type: 'failed', id, error: toWire(toGuardError(error)) });

  return (data) => {
    const message = readToWorker(data);
    if (!message) return;
    switch (message.type) {
      case 'abort':
        return running.get(message.id)?.controller.abort();
      case 'ack':
        return running.get(message.id)?.pulled();
      case 'close':
        open.get(message.monitor)?.close();
        return void open.delete(message.monitor);
    }
    const { id } = message;
    // An answer would be taken for that of the call which runs.
    if (running.has(id)) return;
    if (message.type === 'refused') return fail(id, new GuardError('bad_input', message.why));
    const controller = new AbortController();
    running.set(id, { controller, pulled: () => {} });
    answer(message, controller.signal)
      .then(
        (value) => post({ type: 'done', id, value }),
        (error: unknown) => fail(id, error),
      )
      .finally(() => running.delete(id));
  };
}
