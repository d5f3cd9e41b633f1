/** The isolate's one guard: loaded at the first request that needs it, replaced when its instance is lost. */

import { createGuard } from 'rsafe';
import wasm from 'rsafe/cpu.wasm';

import type { CheckOptions, GuardEvent, Input, PolicySource, TransformOptions, Verdict } from '../../src/types.ts';
import { misconfigured, type Config, type Env, type ExecutionContext } from './config.ts';
import { codeOf, HttpError } from './http.ts';
import { within } from './limits.ts';

/** What the worker asks of a guard. */
export interface EdgeGuard {
  check(input: Input, options?: CheckOptions): Promise<Verdict>;
  stream(input: Input, options?: CheckOptions): AsyncIterable<GuardEvent>;
  transform(options?: TransformOptions): TransformStream<string | Uint8Array, string | Uint8Array>;
  dispose(): Promise<void>;
}

export type State = 'idle' | 'loading' | 'ready' | 'failed';

/** Codes that say that the instance is gone. */
const LOST = new Set(['crashed', 'out_of_memory', 'device_lost', 'disposed']);
/** Milliseconds that a check may take to end after it was told to. */
const GRACE_MS = 1_000;
/** Assets are found by path; the host is never looked up. */
const ASSETS = 'https://assets.local';

export class GuardHolder {
  readonly #config: Config;
  #loading: Promise<EdgeGuard> | null = null;
  state: State = 'idle';

  constructor(config: Config) {
    this.#config = config;
  }

  /** The guard, loaded if it is not. A failed load is forgotten, so that the next request tries again. */
  async get(env: Env, context: ExecutionContext): Promise<EdgeGuard> {
    if (this.#loading === null) {
      const loading = this.#load(env);
      this.#loading = loading;
      this.state = 'loading';
      const settled = loading.then(
        () => this.#settle(loading, 'ready'),
        () => this.#settle(loading, 'failed'),
      );
      // Others wait for this load too: it goes on when the request that began it is gone.
      context.waitUntil(settled);
    }
    const loading = this.#loading;
    try {
      return await within(this.#config.loadMs, 'loading the model', () => loading);
    } catch (error) {
      // A load whose request was cut off for good never settles.
      this.#settle(loading, 'failed');
      throw error;
    }
  }

  #settle(loading: Promise<EdgeGuard>, state: State): void {
    if (this.#loading !== loading) return;
    this.state = state;
    if (state !== 'ready') this.#loading = null;
  }

  async #load(env: Env): Promise<EdgeGuard> {
    const config = this.#config;
    const fetch = (input: RequestInfo | URL, init?: RequestInit) => env.ASSETS.fetch(input as Request, init);
    const policy = await ownPolicy(env, config);
    const guard = createGuard({
      wasm,
      model: new URL(config.model, ASSETS),
      fetch,
      reasoning: config.reasoning,
      onError: 'block',
      ...(policy === null ? {} : { policy }),
    });
    return guard.catch((error: unknown) => {
      const coded = codeOf(error);
      // The owner's policy is not the caller's mistake.
      throw coded?.code === 'bad_policy' ? new HttpError(500, coded.code, coded.message) : error;
    });
  }

  /** Judges, within the time for one check. */
  async check(guard: EdgeGuard, input: Input, options: CheckOptions = {}): Promise<Verdict> {
    return this.run(guard, (signal) => guard.check(input, { ...options, signal }), options.signal);
  }

  /** Runs one piece of a guard's work within the time for a check; a guard that is lost or hangs is given up. */
  async run<T>(guard: EdgeGuard, work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    let working: Promise<T> | undefined;
    try {
      return await within(this.#config.checkMs, 'the check', (signal) => (working = work(signal)), signal);
    } catch (error) {
      const hangs = error instanceof HttpError && error.code === 'timeout' && !(await settles(working, GRACE_MS));
      if (hangs || LOST.has(codeOf(error)?.code ?? '')) this.drop(guard);
      throw error;
    }
  }

  /** Gives this guard up: the next request gets a fresh one. */
  drop(guard: EdgeGuard): void {
    const loading = this.#loading;
    void loading?.then((current) => {
      if (current !== guard || this.#loading !== loading) return;
      this.#loading = null;
      this.state = 'idle';
      guard.dispose().catch(() => undefined);
    });
  }
}

async function settles(work: Promise<unknown> | undefined, ms: number): Promise<boolean> {
  const pause = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), ms));
  const settled = Promise.resolve(work).then(
    () => true,
    () => true,
  );
  return Promise.race([settled, pause]);
}

/** The owner's policy as text or built-in name, or null for the model's own. */
async function ownPolicy(env: Env, config: Config): Promise<string | null> {
  if (config.policyFile !== null) {
    const response = await env.ASSETS.fetch(new URL(config.policyFile, ASSETS));
    if (!response.ok) throw misconfigured(`POLICY_FILE ${config.policyFile} is not among the assets (${response.status})`);
    return response.text();
  }
  if (config.policy !== null && isAddress(config.policy)) {
    throw misconfigured('POLICY must be a policy or the name of a built-in one, not an address; for an asset, set POLICY_FILE');
  }
  return config.policy;
}

/** Whether a policy source would be read as an address, which a caller must not make the worker fetch. */
export function isAddress(source: PolicySource): boolean {
  if (typeof source !== 'string') return source instanceof URL;
  return /^(?:\.{0,2}\/|[a-z][a-z0-9+.-]*:\S)[^\r\n]*$/i.test(source.trim());
}
