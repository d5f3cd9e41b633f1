/** A text that grows piece by piece, and how much of it the guard has released. */

import type { Guard, Message } from 'rsafe/workerd';

import type { GuardHolder } from './guard.ts';

/** What watches over a text. */
export interface Watch {
  guard: Guard;
  holder: GuardHolder;
  messages: readonly Message[];
  signal: AbortSignal;
}

/** One text field of a choice, as it grows. Counts, in UTF-16 units, what went in and what may be shown. */
export class Growing {
  readonly #watch: Watch;
  #text = '';
  #open: Opened | null = null;
  released = 0;

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  get length(): number {
    return this.#text.length;
  }

  async push(text: string): Promise<void> {
    // A text that goes on after its end is judged as a whole again: a fresh monitor knows nothing of it.
    const unseen = this.#open ? text : this.#text + text;
    this.#text += text;
    const { writer } = (this.#open ??= this.#begin());
    await this.#run(() => writer.write(unseen));
  }

  /** Lets the monitor see the end, so that it releases the rest. */
  async finish(): Promise<void> {
    if (!this.#open) return;
    const { writer, read } = this.#open;
    this.#open = null;
    await this.#run(async () => {
      await writer.close();
      await read;
    });
  }

  async cancel(): Promise<void> {
    await this.#open?.writer.abort().catch(() => undefined);
  }

  #begin(): Opened {
    const { guard, messages, signal } = this.#watch;
    const { readable, writable } = guard.transform({ messages, signal });
    const read = this.#count(readable.getReader());
    // Whoever writes hears of an error, too.
    read.catch(() => undefined);
    return { writer: writable.getWriter(), read };
  }

  async #count(reader: ReadableStreamDefaultReader<string | Uint8Array>): Promise<void> {
    for (let seen = 0; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      seen += value.length;
      this.released = Math.max(this.released, seen);
    }
  }

  #run<T>(work: () => Promise<T>): Promise<T> {
    return this.#watch.holder.run(this.#watch.guard, work, this.#watch.signal);
  }
}

interface Opened {
  writer: WritableStreamDefaultWriter<string | Uint8Array>;
  read: Promise<void>;
}
