/** One choice of a streamed answer: its frames wait here until all of their text has been released. */

import { Strand } from './strand.ts';
import type { Held, Kind, Need, Watch } from './text.ts';
import { Whole } from './whole.ts';

/** A part of what the model says. Parts of one place are one text, in their order. */
export interface Said {
  place: string;
  /** Where it stands exactly; see `Held.add`. */
  path: string;
  text: string;
  /** What it is, where it is no text that grows. */
  kind?: Kind;
}

/** Something of a stream that goes on as one. */
export interface Frame<Out> {
  out: Out;
  said: readonly Said[];
  /** Whether the texts that it does not go on with are at their end. Else it would wait for what they hold back, and
   * all behind it; but one that goes on all the same is judged from its beginning again. */
  closes: boolean;
  /** Whether the choice ends with it. */
  last: boolean;
}

/** A frame, and how far each text must be released before it may go. */
interface Waiting<Out> {
  out: Out;
  needs: Map<string, Need[]>;
  last: boolean;
}

/** The part of a frame that may go: `missing` units of what it says at `place` may not. */
export type Part<Out> = (out: Out, place: string, missing: number) => Out | null;

export class Lane<Out> {
  readonly #watch: Watch;
  readonly #texts = new Map<string, Held>();
  #queue: Waiting<Out>[] = [];
  /** Whether nothing more is taken: finished, or cut. */
  over = false;

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  get empty(): boolean {
    return this.#queue.length === 0;
  }

  /** How many places have said something. */
  get places(): number {
    return this.#texts.size;
  }

  /** All that was said at a place. */
  textAt(place: string): string | undefined {
    return this.#texts.get(place)?.text;
  }

  /** Takes a frame and judges its text. What rejects leaves the lane as it is, to be cut. */
  async accept({ out, said, closes, last }: Frame<Out>): Promise<void> {
    if (this.over) return;
    const places = new Set(said.map(({ place }) => place));
    const before = [...this.#texts].filter(([place]) => !places.has(place));
    for (const part of said) this.#text(part).add(part.path, part.text);
    const needs = new Map([...this.#texts].map(([place, text]) => [place, text.needs]));
    this.#queue.push({ out, needs, last });
    if (closes) for (const [, text] of before) await text.finish();
    for (const place of places) await this.#texts.get(place)?.judge();
    if (last) await this.finish();
  }

  #text({ place, kind }: Said): Held {
    const known = this.#texts.get(place);
    const text = known ?? (kind ? new Whole(this.#watch, place, kind) : new Strand(this.#watch, place));
    this.#texts.set(place, text);
    return text;
  }

  /** The end: the rest of the text is judged. Where the answer has `broken` off, half a call stays back. */
  async finish(broken = false): Promise<void> {
    if (this.over) return;
    for (const text of this.#texts.values()) await text.finish(broken);
    this.over = true;
  }

  /** Removes what may go now. */
  take(): Out[] {
    const held = ({ needs, last }: Waiting<Out>) => (last && !this.over) || [...needs.values()].flat().some(isMissing);
    const blocked = this.#queue.findIndex(held);
    return this.#queue.splice(0, blocked < 0 ? this.#queue.length : blocked).map(({ out }) => out);
  }

  /** Ends it here: gives what was released, and drops the rest. */
  cut(part: Part<Out> = () => null): Out[] {
    const ready = this.take();
    const rest = this.#part(part);
    this.#queue = [];
    this.over = true;
    for (const text of this.#texts.values()) text.cancel();
    return rest === null ? ready : [...ready, rest];
  }

  /** The first waiting frame with no more text than was released, if it can be. */
  #part(part: Part<Out>): Out | null {
    const held = this.#queue[0];
    for (const [place, needs] of held?.needs ?? []) {
      const [need, ...others] = needs;
      // Of a list, no part is one item's.
      if (!held || !need || others.length > 0 || !isMissing(need)) continue;
      const rest = part(held.out, place, need.upto - need.text.released);
      if (rest !== null) return rest;
    }
    return null;
  }
}

const isMissing = ({ text, upto }: Need): boolean => text.released < upto;
