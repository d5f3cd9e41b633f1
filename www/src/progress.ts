/** Turns what the loading parts report into the progress that a page shows: never backwards, not too often. */

import type { Progress, Stage } from './types.ts';

const STAGES: readonly Stage[] = ['wasm', 'model', 'self-test', 'ready'];

/** Milliseconds between two events of one stage. */
const INTERVAL = 100;

export class ProgressTracker {
  #emit: (progress: Progress) => void;
  #now: () => number;
  #stage: Stage = 'wasm';
  #total = 0;
  #files = new Map<string, number>();
  #last = -Infinity;
  #ended = false;

  /** `now` gives milliseconds. An error in `emit` is the listener's own: it is logged, and the loading goes on. */
  constructor(emit: ((progress: Progress) => void) | undefined, now: () => number = () => performance.now()) {
    this.#emit = (progress) => {
      try {
        emit?.(progress);
      } catch (error) {
        console.error('rsafe: onProgress threw', error);
      }
    };
    this.#now = now;
  }

  /** The next stage begins. A stage that has passed (another device is tried, say) stays passed. */
  stage(stage: Stage): void {
    if (this.#ended || STAGES.indexOf(stage) < STAGES.indexOf(this.#stage)) return;
    if (stage === this.#stage && this.#last !== -Infinity) return;
    this.#stage = stage;
    if (stage === 'ready') return this.#end();
    this.#send({ stage, loaded: this.#loaded(), total: this.#total });
  }

  /** The bytes of all files, from the manifest. */
  total(bytes: number): void {
    if (this.#total === 0) this.#total = bytes;
  }

  /** So many bytes of a file are there. Fewer than before (it was fetched anew) change nothing. */
  file(file: string, bytes: number, cached: boolean): void {
    const before = this.#files.get(file) ?? 0;
    if (this.#ended || bytes <= before) return;
    this.#files.set(file, bytes);
    if (this.#now() - this.#last < INTERVAL) return;
    this.#send({ stage: this.#stage, loaded: this.#loaded(), total: this.#total, file, cached });
  }

  #end(): void {
    this.#ended = true;
    this.#send({ stage: 'ready', loaded: this.#total, total: this.#total });
  }

  #loaded(): number {
    let sum = 0;
    for (const bytes of this.#files.values()) sum += bytes;
    return Math.min(sum, this.#total);
  }

  #send(progress: Progress): void {
    this.#last = this.#now();
    this.#emit(progress);
  }
}
