/** Small tools for waiting: abort signals that follow others, promises that a signal ends, and a turn for other tasks. */

import { abortError } from './errors.ts';

/** A signal that fires with the first of `parents`; `stop` lets go of them. (`AbortSignal.any` is too young, and holds on
 * to its parents until they are collected.) */
export function follow(...parents: (AbortSignal | undefined)[]): { controller: AbortController; stop: () => void } {
  const controller = new AbortController();
  const stops = parents.map((parent) => onAbort(parent, () => controller.abort(parent?.reason)));
  return { controller, stop: () => stops.forEach((stop) => stop()) };
}

/** Calls `then` once when the signal fires, or now if it has; the function returned takes that back. */
export function onAbort(signal: AbortSignal | undefined, then: () => void): () => void {
  if (!signal) return () => {};
  if (signal.aborted) {
    then();
    return () => {};
  }
  signal.addEventListener('abort', then, { once: true });
  return () => signal.removeEventListener('abort', then);
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/** The promise's outcome, or the signal's error as soon as it fires. The work behind the promise goes on. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const stop = onAbort(signal, () => reject(abortError(signal)));
    promise.then(resolve, reject).finally(stop);
  });
}

/** Resolves after `ms` milliseconds. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return abortable(new Promise((resolve) => setTimeout(resolve, ms)), signal);
}

/** Whether this is workerd, where a message to oneself comes before any request that waits to come in. */
const isWorkerd = globalThis.navigator?.userAgent === 'Cloudflare-Workers';

/** Lets messages, timers and requests have a turn, which awaiting a settled promise does not. Timers are clamped to 4 ms in
 * pages, so a message to oneself is used there. */
export function macrotask(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') return void setImmediate(resolve);
    if (isWorkerd || typeof MessageChannel !== 'function') return void setTimeout(resolve, 0);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}
