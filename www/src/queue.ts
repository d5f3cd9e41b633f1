/** The order of a guard's calls: one at a time, first come first served. */

import { abortError } from './errors.ts';
import { abortable, onAbort } from './signals.ts';

/** Whoever waits is told by a promise and goes on by itself: at the edge, each request may only do its own work. */
export class Fifo {
  #running = false;
  #waiting: (() => void)[] = [];
  #contended: (() => void)[] = [];
  #idle: (() => void)[] = [];

  /** Runs `task` when those before it are done. A signal that fires while it waits takes it out of the queue; one that
   * fires while it runs rejects at once, and the next task starts when this one has ended. */
  async run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) throw abortError(signal);
    if (this.#running) await this.#turn(signal);
    else this.#running = true;
    const running = task();
    const next = () => this.#next();
    running.then(next, next);
    return abortable(running, signal);
  }

  /** Resolves when another task waits for the running one. */
  contended(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#waiting.length > 0) resolve();
      else this.#contended.push(resolve);
    });
  }

  /** Resolves when nothing runs or waits. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#running) this.#idle.push(resolve);
      else resolve();
    });
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const start = () => {
        stop();
        resolve();
      };
      this.#waiting.push(start);
      const stop = onAbort(signal, () => {
        this.#waiting = this.#waiting.filter((waiting) => waiting !== start);
        reject(abortError(signal));
      });
      this.#contended.splice(0).forEach((tell) => tell());
    });
  }

  /** `#running` stays true when the turn passes on, so that nobody slips in before. */
  #next(): void {
    this.#contended = [];
    const start = this.#waiting.shift();
    if (start) return start();
    this.#running = false;
    this.#idle.splice(0).forEach((tell) => tell());
  }
}
