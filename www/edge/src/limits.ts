/** How many requests are worked on at once, and for how long each may be. */

import { HttpError } from './http.ts';

/** How often a waiting request looks for a free place. */
const POLL_MS = 15;
/** A waiting request that has not looked for so long is gone. */
const ABSENT_MS = 2_000;

/** A bounded number of places, and a bounded queue for them.
 *
 * The runtime may end a request without running its `finally`, and one request must not wake another. So a place is a
 * lease that runs out by itself, and a waiting request polls within its own context. */
export class Gate {
  readonly #places: number;
  readonly #queue: number;
  readonly #leaseMs: number;
  /** What holds a place or waits for one, oldest first, and when it counts as gone. */
  readonly #held = new Map<symbol, number>();
  readonly #waiting = new Map<symbol, number>();

  constructor(places: number, queue: number, leaseMs: number) {
    this.#places = places;
    this.#queue = queue;
    this.#leaseMs = leaseMs;
  }

  /** Waits for a place, and gives what ends the lease.
   * @throws HttpError `busy` (429) if the queue is full, or if no place came free within `waitMs`. */
  async enter(waitMs: number, signal?: AbortSignal): Promise<() => void> {
    this.#forgetTheGone();
    const ticket = Symbol();
    if (this.#held.size >= this.#places || this.#waiting.size > 0) {
      if (this.#waiting.size >= this.#queue) throw busy();
      await this.#wait(ticket, waitMs, signal);
    }
    this.#held.set(ticket, Date.now() + this.#leaseMs);
    return () => void this.#held.delete(ticket);
  }

  async #wait(ticket: symbol, waitMs: number, signal?: AbortSignal): Promise<void> {
    const until = Date.now() + waitMs;
    try {
      for (;;) {
        this.#waiting.set(ticket, Date.now() + ABSENT_MS);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        this.#forgetTheGone();
        signal?.throwIfAborted();
        if (Date.now() >= until) throw busy();
        if (this.#held.size < this.#places && this.#waiting.keys().next().value === ticket) return;
      }
    } finally {
      this.#waiting.delete(ticket);
    }
  }

  #forgetTheGone(): void {
    const now = Date.now();
    for (const tickets of [this.#held, this.#waiting]) {
      for (const [ticket, until] of tickets) if (until < now) tickets.delete(ticket);
    }
  }
}

function busy(): HttpError {
  return new HttpError(429, 'busy', 'all places are taken; try again in a moment', { headers: { 'retry-after': '1' } });
}

/** Runs `work` for at most `ms`. Its signal fires when the time is over or `outer` fires; the result of work that goes
 * on regardless is dropped.
 * @throws HttpError `timeout` (504) when the time is over; what `work` throws, or the reason of `outer`. */
export async function within<T>(
  ms: number,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
  outer?: AbortSignal,
): Promise<T> {
  outer?.throwIfAborted();
  const controller = new AbortController();
  const late = () => controller.abort(new HttpError(504, 'timeout', `${what} took more than ${ms} ms`));
  const timer = setTimeout(late, ms);
  const onAbort = () => controller.abort(outer?.reason);
  outer?.addEventListener('abort', onAbort, { once: true });
  const ended = new Promise<never>((_, reject) => {
    controller.signal.addEventListener('abort', () => reject(controller.signal.reason), { once: true });
  });
  try {
    return await Promise.race([ended, work(controller.signal)]);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener('abort', onAbort);
  }
}
