/** One choice of a streamed answer, held back as `Lane` does, with what stands beside its texts. */

import { Lane } from 'rsafe/held';
import type { Message } from 'rsafe/workerd';

import * as completion from './completion.ts';
import { type Fields, HttpError } from './http.ts';
import type { ChatJudge } from './judge.ts';
import type { Notes } from './notes.ts';

/** Places with text in one choice, above which it is given up. */
const MOST = 32;

/** A chunk with this one choice. */
interface Out {
  chunk: Fields;
  delta: Fields;
}

/** What the choices of a stream have in common. */
export interface Reading {
  judge: ChatJudge;
  /** The conversation that is answered. */
  messages: readonly Message[];
  notes: Notes;
  passFields: ReadonlySet<string>;
}

export class HeldChoice {
  readonly index: number;
  readonly #reading: Reading;
  readonly #lane: Lane<Out>;
  #told: Fields[] = [];
  withheld = false;

  constructor(index: number, reading: Reading) {
    this.index = index;
    this.#reading = reading;
    this.#lane = new Lane(reading.judge.watch(reading.messages, () => 'response'));
  }

  /** Whether nothing more is taken: finished, or withheld. */
  get over(): boolean {
    return this.#lane.over;
  }

  get empty(): boolean {
    return this.#lane.empty && this.#told.length === 0;
  }

  /** Takes a chunk's choice, and judges its text. `envelope` is the rest of the chunk. */
  async accept(envelope: Fields, choice: Fields): Promise<void> {
    await this.#orWithhold(envelope, () => this.#judge(envelope, choice));
  }

  async #judge(envelope: Fields, choice: Fields): Promise<void> {
    const delta = completion.spokenIn(choice, 'delta');
    const told = completion.withPlainLogprobs(choice, delta);
    const pieces = completion.piecesOf({ ...told, logprobs: null }, '', this.#reading.passFields);
    // A call is judged piece by piece, too: words may be spread over several.
    const said = [...pieces.filter(({ named }) => !named), ...completion.callsIn(pieces)];
    await this.#reading.notes.read(pieces.filter(({ named }) => named));

    const out = { chunk: { ...envelope, choices: [told] }, delta };
    const last = choice.finish_reason !== null && choice.finish_reason !== undefined;
    await this.#lane.accept({ out, said, closes: said.length > 0 || completion.hasMore(delta), last });
    if (this.#lane.places > MOST)
      throw new HttpError(502, 'upstream', `the upstream sent texts in more than ${MOST} places`);
    if (last) await this.#passed();
  }

  /** The end of the choice, or of an answer that has broken off: the rest of its text is judged. */
  async finish(envelope: Fields, broken: boolean): Promise<void> {
    await this.#orWithhold(envelope, async () => {
      await this.#lane.finish(broken);
      await this.#passed();
    });
  }

  async #passed(): Promise<void> {
    const content = this.#lane.textAt('delta.content');
    if (content !== undefined) await this.#reading.judge.remember(this.#reading.messages, content);
  }

  async #orWithhold(envelope: Fields, work: () => Promise<void>): Promise<void> {
    if (this.over) return;
    try {
      await work();
    } catch (error) {
      this.withhold(envelope, completion.reasonOf(error));
    }
  }

  /** Ends the choice here: what was released goes out, then a last chunk that says why. */
  withhold(envelope: Fields, reason: completion.Reason): void {
    const { usage: _, ...rest } = envelope;
    const last = completion.withheldChunk(rest, this.index, completion.note('response', this.index, reason));
    this.#told = [
      ...this.#lane.cut((out, place, missing) => this.#part(out, place, missing)).map(({ chunk }) => chunk),
      last,
    ];
    this.withheld = true;
  }

  /** The chunks that may go now. */
  take(): Fields[] {
    return [...this.#told.splice(0), ...this.#lane.take().map(({ chunk }) => chunk)];
  }

  /** A chunk without the end of its text. */
  #part({ chunk, delta }: Out, place: string, missing: number): Out | null {
    const field = place.replace(/^delta\./, '');
    const text = delta[field];
    // Names of the sender's own share one text, of which no part is one field's.
    if (typeof text !== 'string' || field === '*' || missing >= text.length) return null;
    const { role } = delta;
    const told = { ...(role === 'assistant' ? { role } : {}), [field]: text.slice(0, -missing) };
    return {
      delta,
      chunk: { ...chunk, choices: [{ index: this.index, delta: told, logprobs: null, finish_reason: null }] },
    };
  }
}
