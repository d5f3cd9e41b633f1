/** The order of a guard's calls: one at a time, first come first served. */

import { abortError } from './errors.ts';
import { onAbort } from './signals.ts';

export class Fifo {
  #running = false;
  #idle: (() => void)[] = [];
  #waiting: (() => void)[] = [];
  #contended: (() => void)[] = [];

  /** Runs `task` when those before it are done. A signal that fires while it waits takes it out of the queue; one that
   * fires while it runs rejects at once, and the next task starts when this one has ended. */
  run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const start = () => {
        this.#running = true;
        const done = () => {
          stop();
          this.#next();
        };
        task().then(resolve, reject).then(done);
      };
      const stop = onAbort(signal, () => {
        this.#waiting = this.#waiting.filter((waiting) => waiting !== start);
        reject(abortError(signal));
      });
      if (signal?.aborted) return;
      if (!this.#running) return start();
      this.#waiting.push(start);
      this.#contended.splice(0).forEach((tell) => tell());
    });
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

  #next(): void {
    this.#contended = [];
    const start = this.#waiting.shift();
    if (start) return start();
    this.#running = false;
    this.#idle.splice(0).forEach((tell) => tell());
  }
}
