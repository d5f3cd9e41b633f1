/** What a request needs of the isolate: configuration, guard, places. One of these for each request. */

import { Judge, Passed } from 'rsafe/held';
import type { Guard } from 'rsafe/workerd';

import { readConfig, type Config, type Env, type ExecutionContext } from './config.ts';
import { GuardHolder } from './guard.ts';
import type { ChatJudge } from './judge.ts';
import { Gate } from './limits.ts';
import { sseResponse } from './sse.ts';

/** What lives as long as the isolate. */
export class Isolate {
  readonly config: Config;
  readonly holder: GuardHolder;
  /** Texts that passed. */
  readonly passed: Passed;
  /** Places for requests that are judged, and for those whose answer comes from an upstream: waiting for a model
   * elsewhere must not keep texts from being judged here. */
  readonly gates: { judging: Gate; relaying: Gate };

  constructor(env: Env) {
    this.config = readConfig(env);
    this.holder = new GuardHolder(this.config);
    this.passed = new Passed(this.config.maxRemembered);
    const { loadMs, checkMs, upstreamMs, maxConcurrent, maxQueued, maxChats, maxInputs } = this.config;
    // A lease outlives every honest use of its place.
    this.gates = {
      judging: new Gate(maxConcurrent, maxQueued, loadMs + maxInputs * checkMs),
      relaying: new Gate(maxChats, 0, 20 * upstreamMs),
    };
  }
}

export class App {
  readonly request: Request;
  readonly env: Env;
  readonly config: Config;
  readonly holder: GuardHolder;
  readonly passed: Passed;
  readonly #isolate: Isolate;
  readonly #context: ExecutionContext;
  #leave: () => void = () => undefined;
  #end: () => void = () => undefined;
  #streams = false;

  constructor(isolate: Isolate, request: Request, env: Env, context: ExecutionContext) {
    this.request = request;
    this.env = env;
    this.config = isolate.config;
    this.holder = isolate.holder;
    this.passed = isolate.passed;
    this.#isolate = isolate;
    this.#context = context;
  }

  guard(): Promise<Guard> {
    return this.holder.get(this.env, this.#context);
  }

  /** Judges by a guard until `signal` fires. */
  judge(guard: Guard, signal: AbortSignal): ChatJudge {
    const { holder, passed } = this;
    const run = <T>(work: (signal: AbortSignal) => Promise<T>) => holder.run(guard, work, signal);
    // Nobody is there to review.
    return new Judge({ guard, signal, releaseOnReview: false, passed, run });
  }

  /** Takes a place, and leaves the one it had. */
  async enter(gate: keyof Isolate['gates']): Promise<void> {
    const leave = await this.#isolate.gates[gate].enter(this.config.checkMs, this.request.signal);
    this.#leave();
    this.#leave = leave;
  }

  /** Does the work of a request in its place, which a streamed answer keeps until its end. */
  async run(route: (app: App) => Promise<Response>): Promise<Response> {
    // Clean-up runs although the caller has left: the runtime drops other work of a request that nobody waits for.
    let end: () => void = () => undefined;
    this.#context.waitUntil(new Promise<void>((resolve) => (end = resolve)));
    this.#end = () => {
      this.#leave();
      end();
    };
    try {
      return await route(this);
    } finally {
      if (!this.#streams) this.#end();
    }
  }

  /** Answers with a stream, and tells `gone` when its reader has left. */
  stream(events: AsyncGenerator<string, void, undefined>, gone: AbortController): Response {
    this.#streams = true;
    return sseResponse(events, this.request.signal, gone, () => this.#end());
  }
}
