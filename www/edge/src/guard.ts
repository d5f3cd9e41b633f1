/** The isolate's one guard: loaded at the first request that needs it, replaced if it hangs. After a crash it starts
 * itself again at the next call. */

import {
  builtinPolicies,
  type CheckOptions,
  createGuard,
  type Guard,
  type GuardEvent,
  type Input,
  isAddress,
  type PolicySource,
  type Verdict,
} from 'rsafe/workerd';
import wasm from 'rsafe/cpu.wasm';

import { misconfigured, type Config, type Env, type ExecutionContext } from './config.ts';
import { badInput, codeOf, HttpError } from './http.ts';
import { Gate, within } from './limits.ts';

export type State = 'idle' | 'loading' | 'ready' | 'failed';

/** Milliseconds that a check may take to end after it was told to. */
const GRACE_MS = 1_000;
/** Assets are found by path; the host is never looked up. */
const ASSETS = 'https://assets.local';

export class GuardHolder {
  readonly #config: Config;
  #loading: Promise<Guard> | null = null;
  /** As many pieces of work as there may be requests at once; among them the guard lets short ones pass long ones. One
   * whose request was ended by the runtime in the middle never goes on; its lease runs out. */
  readonly #turn: Gate;
  state: State = 'idle';

  constructor(config: Config) {
    this.#config = config;
    this.#turn = new Gate(config.maxConcurrent, Infinity, 2 * (config.checkMs + GRACE_MS));
  }

  /** The guard, loaded if it is not. A failed load is forgotten, so that the next request tries again. */
  async get(env: Env, context: ExecutionContext): Promise<Guard> {
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

  #settle(loading: Promise<Guard>, state: State): void {
    if (this.#loading !== loading) return;
    this.state = state;
    if (state !== 'ready') this.#loading = null;
  }

  async #load(env: Env): Promise<Guard> {
    const config = this.#config;
    const policy = await ownPolicy(env, config);
    const guard = createGuard({
      wasm,
      model: new URL(config.model, ASSETS),
      fetch: env.ASSETS,
      reasoning: config.reasoning,
      maxWork: config.maxWork,
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
  check(guard: Guard, input: Input, options: CheckOptions = {}): Promise<Verdict> {
    return this.run(guard, (signal) => guard.check(input, { ...options, signal }), options.signal);
  }

  /** Judges, and gives each event as it comes. A slow reader holds up nobody. */
  async *stream(guard: Guard, input: Input, options: CheckOptions): AsyncGenerator<GuardEvent, void, undefined> {
    const events: GuardEvent[] = [];
    let over = false;
    let more: () => void = () => undefined;
    const work = async (signal: AbortSignal) => {
      for await (const event of guard.stream(input, { ...options, signal })) {
        events.push(event);
        more();
      }
    };
    const working = this.run(guard, work, options.signal).finally(() => {
      over = true;
      more();
    });
    // Told below, after the events before it.
    working.catch(() => undefined);
    while (!over || events.length > 0) {
      const event = events.shift();
      if (event) yield event;
      else await new Promise<void>((resolve) => (more = resolve));
    }
    await working;
  }

  /** Runs one piece of a guard's work in its place, within the time for a check; a guard that hangs is given up. */
  async run<T>(guard: Guard, work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { checkMs } = this.#config;
    const leave = await this.#turn.enter(checkMs, signal);
    let working: Promise<T> | undefined;
    try {
      return await within(checkMs, 'the check', (signal) => (working = work(signal)), signal);
    } catch (error) {
      const late = error instanceof HttpError && error.code === 'timeout';
      if (late && !(await settles(working, GRACE_MS))) this.#giveUp(guard);
      throw error;
    } finally {
      leave();
    }
  }

  /** The next request loads a fresh one. The old one is not disposed of, which would wait for it. */
  #giveUp(guard: Guard): void {
    const loading = this.#loading;
    void loading?.then((current) => {
      if (current === guard) this.#settle(loading, 'idle');
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
    if (!response.ok)
      throw misconfigured(`POLICY_FILE ${config.policyFile} is not among the assets (${response.status})`);
    return response.text();
  }
  if (config.policy !== null && isAddress(config.policy)) {
    throw misconfigured(
      'POLICY must be a policy or the name of a built-in one, not an address; for an asset, set POLICY_FILE',
    );
  }
  return config.policy;
}

/** Refuses what a caller may not bring as a policy: the worker fetches no address for others. Built-in ones cost no more than the owner's and hold no rules. */
export function allowPolicy(config: Config, policy: PolicySource): void {
  if (isAddress(policy))
    throw badInput('policy must be the policy itself or the name of a built-in one, not an address');
  if (config.allowPolicies || (typeof policy === 'string' && (builtinPolicies as readonly string[]).includes(policy)))
    return;
  const names = builtinPolicies.join(', ');
  const message = `policy must be a built-in one here (${names}) or left out; the owner of this worker can set ALLOW_POLICIES`;
  throw new HttpError(403, 'policy_not_allowed', message, { param: 'policy' });
}
