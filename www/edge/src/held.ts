/** One choice of a streamed answer: its chunks wait here until all of their text has been released. */

import * as completion from './completion.ts';
import { Growing, type Watch } from './growing.ts';
import type { Fields } from './http.ts';

/** A chunk with this one choice, and how far each text must be released before it may go. */
interface Held {
  chunk: Fields;
  choice: Fields;
  delta: Fields;
  needs: Map<string, number>;
  last: boolean;
}

export class HeldChoice {
  readonly index: number;
  readonly #watch: Watch;
  readonly #texts = new Map<string, Growing>();
  #queue: Held[] = [];
  /** Whether nothing more is taken: finished, or withheld. */
  over = false;
  withheld = false;

  constructor(index: number, watch: Watch) {
    this.index = index;
    this.#watch = watch;
  }

  get empty(): boolean {
    return this.#queue.length === 0;
  }

  /** Takes a chunk that has this choice alone, and judges its text. */
  async accept(chunk: Fields, choice: Fields): Promise<void> {
    if (this.over) return;
    try {
      await this.#judge(chunk, choice);
    } catch (error) {
      this.withhold(chunk, completion.reasonOfError(error));
    }
  }

  async #judge(chunk: Fields, choice: Fields): Promise<void> {
    const delta = completion.spokenIn(choice, 'delta');
    const texts = completion.textsOf(delta);
    const last = choice.finish_reason !== null && choice.finish_reason !== undefined;
    const held: Held = { chunk, choice, delta, needs: new Map(), last };
    this.#queue.push(held);
    // Another field begins, or tool calls: the texts before it get their end, or it would wait for what they hold back.
    if (texts.size > 0 || completion.hasMore(delta)) {
      for (const [field, text] of this.#texts) if (!texts.has(field)) await text.finish();
    }
    for (const [field, text] of this.#texts) held.needs.set(field, text.length);
    for (const [field, text] of texts) held.needs.set(field, this.#text(field).length + text.length);
    for (const [field, text] of texts) await this.#text(field).push(text);
    if (last) await this.finish(chunk);
  }

  #text(field: string): Growing {
    const text = this.#texts.get(field) ?? new Growing(this.#watch);
    this.#texts.set(field, text);
    return text;
  }

  /** The end of the choice: the rest of its text is judged. */
  async finish(envelope: Fields): Promise<void> {
    if (this.over) return;
    try {
      for (const text of this.#texts.values()) await text.finish();
      this.over = true;
    } catch (error) {
      this.withhold(envelope, completion.reasonOfError(error));
    }
  }

  /** Ends the choice here: what was released goes out, then a last chunk that says why. */
  withhold(envelope: Fields, reason: completion.Reason): void {
    const ready = this.#ready();
    const part = this.#releasedPart();
    const { choices: _, usage: __, ...rest } = envelope;
    const last = completion.withheldChunk(rest, this.index, completion.note('response', this.index, reason));
    const held = (chunk: Fields): Held => ({ chunk, choice: {}, delta: {}, needs: new Map(), last: false });
    this.#queue = [...ready, ...(part ? [held(part)] : []), held(last)];
    this.over = this.withheld = true;
    for (const text of this.#texts.values()) void text.cancel();
  }

  /** The chunks that may go now. */
  take(): Fields[] {
    const ready = this.#ready();
    return ready.map(({ chunk }) => chunk);
  }

  /** Removes from the queue what may go. */
  #ready(): Held[] {
    const blocked = this.#queue.findIndex(({ needs, last }) => {
      return (last && !this.over) || [...needs].some(([field, need]) => this.#text(field).released < need);
    });
    return this.#queue.splice(0, blocked < 0 ? this.#queue.length : blocked);
  }

  /** The first waiting chunk with no more text than was released, if there is any. */
  #releasedPart(): Fields | null {
    const held = this.#queue[0];
    if (!held) return null;
    for (const [field, text] of completion.textsOf(held.delta)) {
      const missing = (held.needs.get(field) ?? 0) - this.#text(field).released;
      if (missing <= 0 || missing >= text.length) continue;
      const { role } = held.delta;
      const delta = { ...(role === undefined ? {} : { role }), [field]: text.slice(0, -missing) };
      return { ...held.chunk, choices: [{ index: this.index, delta, logprobs: null, finish_reason: null }] };
    }
    return null;
  }
}
