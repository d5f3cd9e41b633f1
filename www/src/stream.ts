/** A check as a stream of events: pulled by the reader, ended by leaving the loop. */

import type { CheckHooks } from './engine.ts';
import { GuardError, toGuardError } from './errors.ts';
import type { GuardEvent, GuardStream, Verdict } from './types.ts';

/** Events that may lie unread before the model waits for the reader. */
const AHEAD = 8;

type Step = IteratorResult<GuardEvent, undefined>;

/** `start` begins the check, once; `stop` ends it. */
export class CheckStream implements GuardStream {
  #start: (onEvent: NonNullable<CheckHooks['onEvent']>) => Promise<Verdict>;
  #stop: (error: GuardError) => void;
  #verdict: Promise<Verdict> | undefined;
  #unread: GuardEvent[] = [];
  #readers: { resolve: (step: Step) => void; reject: (error: GuardError) => void }[] = [];
  #end: { error?: GuardError } | undefined;
  #resume = () => {};
  #whole = false;

  constructor(
    start: (onEvent: NonNullable<CheckHooks['onEvent']>) => Promise<Verdict>,
    stop: (error: GuardError) => void,
  ) {
    this.#start = start;
    this.#stop = stop;
  }

  get verdict(): Promise<Verdict> {
    this.#whole = true;
    this.#resume();
    return this.#run();
  }

  next(): Promise<Step> {
    this.#run();
    const event = this.#unread.shift();
    if (event) {
      if (this.#unread.length < AHEAD) this.#resume();
      return Promise.resolve({ done: false, value: event });
    }
    if (!this.#end) return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    const { error } = this.#end;
    // As a generator: the error once, then the end.
    this.#end = {};
    return error ? Promise.reject(error) : Promise.resolve({ done: true, value: undefined });
  }

  async return(): Promise<Step> {
    const left = new GuardError('aborted', 'the loop over the stream was left before the verdict');
    this.#verdict ??= failed(left);
    this.#unread = [];
    if (!this.#end) this.#stop(left);
    this.#finish();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #run(): Promise<Verdict> {
    if (this.#verdict) return this.#verdict;
    const verdict = this.#start((event) => this.#take(event));
    this.#verdict = verdict;
    verdict.then(
      () => this.#finish(),
      (error: unknown) => this.#finish(toGuardError(error)),
    );
    return verdict;
  }

  #take(event: GuardEvent): void | Promise<void> {
    if (this.#end) return;
    const reader = this.#readers.shift();
    if (reader) return reader.resolve({ done: false, value: event });
    this.#unread.push(event);
    if (!this.#whole && this.#unread.length >= AHEAD) return new Promise((resolve) => (this.#resume = resolve));
  }

  #finish(error?: GuardError): void {
    if (this.#end) return;
    this.#end = error ? { error } : {};
    this.#resume();
    for (const { resolve, reject } of this.#readers.splice(0)) {
      if (!this.#end.error) resolve({ done: true, value: undefined });
      else reject(this.#end.error);
      this.#end = {};
    }
  }
}

/** A rejection that nobody has to handle. */
function failed(error: GuardError): Promise<never> {
  const promise = Promise.reject(error);
  promise.catch(() => {});
  return promise;
}
