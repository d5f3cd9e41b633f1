'use client';
/** rsafe for React: a guard that lives as long as the component that uses it. */

import { useCallback, useEffect, useState } from 'react';
import type { GuardError } from './errors.ts';
import type { CheckOptions, Guard, GuardOptions, Input, Progress, Verdict } from './types.ts';

export interface UseGuardOptions extends Omit<GuardOptions, 'signal' | 'onProgress'> {
  /** Instead of the package's `createGuard`, which is loaded when the component is mounted. */
  createGuard?: (options: GuardOptions) => Promise<Guard>;
}

/** What a component shows of its guard. */
export interface GuardState {
  /** `loading` until there is a guard, `failed` if there is none; then `checking` while it judges, else `ready`. */
  status: 'loading' | 'failed' | 'ready' | 'checking';
  /** How far loading is, in [0, 1]. */
  progress: number;
  /** The reasoning of the check that runs or ran last, as far as it is written. */
  reasoning: string;
  /** The verdict of the last check; null while one runs, and where it failed. */
  verdict: Verdict | null;
  /** Why there is no guard, or no verdict; `aborted` where the check was. */
  error: GuardError | null;
}

export interface UseGuard extends GuardState {
  /** Judges, once the guard is loaded. A check that still runs is aborted. Rejects with the `GuardError` that the state
   * has: what cannot be judged is not allowed. */
  check(input: Input, options?: CheckOptions): Promise<Verdict>;
  /** Ends the check that runs. */
  abort(): void;
}

const INITIAL: GuardState = { status: 'loading', progress: 0, reasoning: '', verdict: null, error: null };

/** Loads a guard when the component is mounted, and disposes of it when it is unmounted; on a server it does nothing.
 * The options of the first render count: give the component another `key` to load anew. */
export function useGuard(options: UseGuardOptions = {}): UseGuard {
  const [state, setState] = useState(INITIAL);
  const [held] = useState(() => new Held(options));

  useEffect(() => {
    const mounted = new AbortController();
    const { signal } = mounted;
    const show = (change: Partial<GuardState>) => {
      if (!signal.aborted) setState((before) => ({ ...before, ...change }));
    };
    const onProgress = ({ loaded, total }: Progress) => show({ progress: total > 0 ? loaded / total : 0 });
    const loading = load(held.options, { signal, onProgress });
    held.mount(loading);
    setState(INITIAL);
    loading.then(
      () => show({ status: 'ready', progress: 1 }),
      (error: GuardError) => show({ status: 'failed', error }),
    );
    return () => {
      mounted.abort();
      held.running?.abort();
      loading.then((loaded) => loaded.dispose()).catch(() => undefined);
    };
  }, []);

  const check = useCallback((input: Input, given: CheckOptions = {}): Promise<Verdict> => {
    held.running?.abort();
    const own = new AbortController();
    held.running = own;
    const { signal } = own;
    const leave = () => own.abort(given.signal?.reason);
    if (given.signal?.aborted) leave();
    else given.signal?.addEventListener('abort', leave, { once: true, signal });
    const show = (change: Partial<GuardState>) => {
      if (held.running === own) setState((before) => ({ ...before, ...change }));
    };
    const verdict = judge(held, input, { ...given, signal }, show);
    // The state has the error, too; at the end the caller's signal is let go.
    verdict.catch(() => undefined).finally(() => own.abort());
    return verdict;
  }, []);

  const abort = useCallback(() => held.running?.abort(), []);
  return { ...state, check, abort };
}

/** What stays of a component from render to render. */
class Held {
  readonly options: UseGuardOptions;
  running: AbortController | undefined;
  mount!: (guard: Promise<Guard>) => void;
  #guard: Promise<Guard> | undefined;
  readonly #mounted: Promise<void>;

  constructor(options: UseGuardOptions) {
    this.options = options;
    this.#mounted = new Promise((resolve) => {
      this.mount = (guard) => {
        this.#guard = guard;
        resolve();
      };
    });
  }

  /** The guard of the last mount. What is rendered may be used before it is mounted. */
  async guard(): Promise<Guard> {
    await this.#mounted;
    return this.#guard!;
  }
}

async function load(
  { createGuard, ...options }: UseGuardOptions,
  hooks: Pick<GuardOptions, 'signal' | 'onProgress'>,
): Promise<Guard> {
  const create = createGuard ?? (await import('./index.ts')).createGuard;
  // Strict Mode unmounts at once what it mounts first.
  await null;
  hooks.signal?.throwIfAborted();
  return create({ ...options, ...hooks });
}

async function judge(
  held: Held,
  input: Input,
  options: CheckOptions,
  show: (change: Partial<GuardState>) => void,
): Promise<Verdict> {
  show({ reasoning: '', verdict: null, error: null });
  let loaded: Guard | undefined;
  try {
    loaded = await held.guard();
    show({ status: 'checking' });
    const stream = loaded.stream(input, options);
    let reasoning = '';
    for await (const event of stream) if (event.type === 'reasoning') show({ reasoning: (reasoning += event.text) });
    const verdict = await stream.verdict;
    show({ status: 'ready', verdict });
    return verdict;
  } catch (error) {
    show({ status: loaded ? 'ready' : 'failed', error: error as GuardError });
    throw error;
  }
}
