/** One choice of a streamed answer: its chunks wait here until all of their text has been released. */

import * as completion from './completion.ts';
import type { Watch } from './growing.ts';
import { type Fields, HttpError } from './http.ts';
import type { Notes } from './notes.ts';
import { type Need, Strand } from './strand.ts';

/** Places with text in one choice, above which it is given up. */
const MOST = 32;

/** A chunk with this one choice, and how far each text must be released before it may go. */
interface Held {
  chunk: Fields;
  delta: Fields;
  needs: Map<string, Need[]>;
  last: boolean;
}

/** What the choices of a stream have in common. */
export interface Reading extends Watch {
  notes: Notes;
  passFields: ReadonlySet<string>;
}

export class HeldChoice {
  readonly index: number;
  readonly #reading: Reading;
  readonly #strands = new Map<string, Strand>();
  #queue: Held[] = [];
  /** Whether nothing more is taken: finished, or withheld. */
  over = false;
  withheld = false;

  constructor(index: number, reading: Reading) {
    this.index = index;
    this.#reading = reading;
  }

  get empty(): boolean {
    return this.#queue.length === 0;
  }

  /** Takes a chunk's choice, and judges its text. `envelope` is the rest of the chunk. */
  async accept(envelope: Fields, choice: Fields): Promise<void> {
    if (this.over) return;
    try {
      await this.#judge(envelope, choice);
    } catch (error) {
      this.withhold(envelope, completion.reasonOfError(error));
    }
  }

  async #judge(envelope: Fields, choice: Fields): Promise<void> {
    const delta = completion.spokenIn(choice, 'delta');
    const told = completion.withPlainLogprobs(choice, delta);
    const pieces = completion.piecesOf({ ...told, logprobs: null }, '', this.#reading.passFields);
    const grown = pieces.filter(({ named }) => !named);
    await this.#reading.notes.read(pieces.filter(({ named }) => named));

    const last = choice.finish_reason !== null && choice.finish_reason !== undefined;
    const places = new Set(grown.map(({ place }) => place));
    // Another field begins, or tool calls: the texts before it get their end, or it would wait for what they hold back.
    const before = [...this.#strands].filter(([place]) => !places.has(place));
    for (const { place, path, text } of grown) this.#strand(place).add(path, text);
    const needs = new Map([...this.#strands].map(([place, strand]) => [place, strand.needs]));
    this.#queue.push({ chunk: { ...envelope, choices: [told] }, delta, needs, last });
    if (places.size > 0 || completion.hasMore(delta)) for (const [, strand] of before) await strand.finish();
    for (const place of places) await this.#strand(place).judge();
    if (last) await this.#end();
  }

  #strand(place: string): Strand {
    const strand = this.#strands.get(place) ?? new Strand(this.#reading);
    this.#strands.set(place, strand);
    if (this.#strands.size > MOST) throw new HttpError(502, 'upstream', `the upstream sent texts in more than ${MOST} places`);
    return strand;
  }

  /** The end of the choice: the rest of its text is judged. */
  async finish(envelope: Fields): Promise<void> {
    if (this.over) return;
    try {
      await this.#end();
    } catch (error) {
      this.withhold(envelope, completion.reasonOfError(error));
    }
  }

  async #end(): Promise<void> {
    for (const strand of this.#strands.values()) await strand.finish();
    this.over = true;
    const { judge, messages } = this.#reading;
    const content = this.#strands.get('delta.content')?.joined.text;
    if (content !== undefined) await judge.passed(messages, content);
  }

  /** Ends the choice here: what was released goes out, then a last chunk that says why. */
  withhold(envelope: Fields, reason: completion.Reason): void {
    const ready = this.#ready();
    const part = this.#releasedPart();
    const { usage: _, ...rest } = envelope;
    const last = completion.withheldChunk(rest, this.index, completion.note('response', this.index, reason));
    const held = (chunk: Fields): Held => ({ chunk, delta: {}, needs: new Map(), last: false });
    this.#queue = [...ready, ...(part ? [held(part)] : []), held(last)];
    this.over = this.withheld = true;
    for (const strand of this.#strands.values()) strand.cancel();
  }

  /** The chunks that may go now. */
  take(): Fields[] {
    const ready = this.#ready();
    return ready.map(({ chunk }) => chunk);
  }

  /** Removes from the queue what may go. */
  #ready(): Held[] {
    const blocked = this.#queue.findIndex(({ needs, last }) => {
      return (last && !this.over) || [...needs.values()].flat().some(({ text, upto }) => text.released < upto);
    });
    return this.#queue.splice(0, blocked < 0 ? this.#queue.length : blocked);
  }

  /** The first waiting chunk with no more text than was released, if there is any. */
  #releasedPart(): Fields | null {
    const held = this.#queue[0];
    if (!held) return null;
    for (const [place, [need, ...others]] of held.needs) {
      const field = place.replace(/^delta\./, '');
      const text = held.delta[field];
      // Names of the sender's own share one text, of which no part is one field's.
      if (typeof text !== 'string' || field === '*' || !need || others.length > 0) continue;
      const missing = need.upto - need.text.released;
      if (missing <= 0 || missing >= text.length) continue;
      const { role } = held.delta;
      const delta = { ...(role === 'assistant' ? { role } : {}), [field]: text.slice(0, -missing) };
      return { ...held.chunk, choices: [{ index: this.index, delta, logprobs: null, finish_reason: null }] };
    }
    return null;
  }
}
