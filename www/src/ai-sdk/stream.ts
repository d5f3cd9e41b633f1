/** An answer as it streams: each part waits until a check that saw it has passed. */

import type { LanguageModelV4Content, LanguageModelV4StreamPart } from '@ai-sdk/provider';
import type { Growing } from '../held/growing.ts';
import { EDGE } from '../walk/reading.ts';
import type { Judge } from './judge.ts';
import { citedText } from './words.ts';

type StreamPart = LanguageModelV4StreamPart;
type Kind = 'text' | 'reasoning';
type Metadata = Extract<StreamPart, { type: 'text-end' }>['providerMetadata'];

/** A text part of the answer that has begun. */
interface Open {
  kind: Kind;
  id: string;
  /** What the answer is remembered by. */
  told: { type: Kind; text: string };
  /** What watches over it, once there is text. */
  growing: Growing | undefined;
  /** How much of that was heard before, or shown. */
  taken: number;
  metadata: Metadata;
}

export class GuardedAnswer {
  readonly #judge: Judge;
  readonly #open = new Map<string, Open>();
  /** The last words of each kind: a wish may be spread over parts that follow each other. */
  readonly #heard = { text: '', reasoning: '' };
  /** The pieces of calls that have not come whole. */
  readonly #inputs = new Map<string, StreamPart[]>();
  readonly #told: LanguageModelV4Content[] = [];

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /** What may be shown of the answer; where something is blocked or cannot be judged, all before it, then `ending`. */
  async *read(
    next: () => Promise<ReadableStreamReadResult<StreamPart>>,
    ending: (error: unknown) => Iterable<StreamPart>,
  ): AsyncGenerator<StreamPart, void, undefined> {
    for (;;) {
      const step = await next();
      try {
        if (step.done) return yield* this.#settle();
        yield* this.#take(step.value);
      } catch (error) {
        if (this.#judge.signal.aborted) throw error;
        for (const open of this.#open.values()) {
          yield* this.#released(open);
          yield { type: `${open.kind}-end`, id: open.id };
        }
        return yield* ending(error);
      }
    }
  }

  async *#take(part: StreamPart): AsyncGenerator<StreamPart, void, undefined> {
    const kind = part.type.startsWith('text') ? 'text' : 'reasoning';
    switch (part.type) {
      case 'text-start':
      case 'reasoning-start':
        this.#begin(kind, part.id);
        yield part;
        return;
      case 'text-delta':
      case 'reasoning-delta':
        return yield* this.#grow(this.#find(kind, part.id), part);
      case 'text-end':
      case 'reasoning-end': {
        const open = this.#find(kind, part.id);
        yield* this.#flush(open);
        if (part.type === 'text-end') await this.#judge.part({ type: 'text', text: citedText(part.citations) });
        this.#open.delete(keyOf(open));
        const providerMetadata = part.providerMetadata ?? open.metadata;
        yield providerMetadata ? { ...part, providerMetadata } : part;
        return;
      }
      case 'tool-input-start':
      case 'tool-input-delta':
      case 'tool-input-end':
        if (this.#judge.skips(part)) yield part;
        else this.#inputs.set(part.id, [...(this.#inputs.get(part.id) ?? []), part]);
        return;
      case 'finish':
        yield* this.#settle();
        await this.#judge.passed(this.#told);
        yield withNote(part, this.#judge);
        return;
      case 'raw':
        // What the provider sent as it stands: the text in it is in pieces that nobody could judge.
        return;
      case 'stream-start':
      case 'response-metadata':
      case 'ping':
      case 'error':
        yield part;
        return;
      default:
        yield* this.#settle();
        await this.#judge.part(part);
        this.#told.push(part);
        if (part.type === 'tool-call') {
          yield* this.#inputs.get(part.toolCallId) ?? [];
          this.#inputs.delete(part.toolCallId);
        }
        yield part;
    }
  }

  #begin(kind: Kind, id: string): Open {
    const open: Open = { kind, id, told: { type: kind, text: '' }, growing: undefined, taken: 0, metadata: undefined };
    this.#open.set(keyOf(open), open);
    this.#told.push(open.told);
    return open;
  }

  #find(kind: Kind, id: string): Open {
    return this.#open.get(keyOf({ kind, id })) ?? this.#begin(kind, id);
  }

  async *#grow(open: Open, { delta, providerMetadata }: { delta: string; providerMetadata?: Metadata }) {
    // It may tell of text that is still held.
    open.metadata = providerMetadata ?? open.metadata;
    open.told.text += delta;
    const heard = this.#heard[open.kind];
    if (!open.growing) {
      open.growing = this.#judge.growing(open.kind, heard);
      open.taken = heard.length;
    }
    this.#heard[open.kind] = (heard + delta).slice(-EDGE);
    open.growing.add(delta);
    await open.growing.judge();
    yield* this.#released(open);
  }

  *#released(open: Open): Generator<StreamPart, void, undefined> {
    const { kind, id, growing, taken } = open;
    const delta = growing?.text.slice(taken, growing.released) ?? '';
    open.taken += delta.length;
    if (delta !== '') yield { type: `${kind}-delta`, id, delta };
  }

  /** Judges a text as one that has ended; what may follow is judged anew, behind its last words. */
  async *#flush(open: Open): AsyncGenerator<StreamPart, void, undefined> {
    await open.growing?.finish();
    yield* this.#released(open);
    open.growing = undefined;
  }

  /** What is no text waits for the text before it. */
  async *#settle(): AsyncGenerator<StreamPart, void, undefined> {
    for (const open of this.#open.values()) yield* this.#flush(open);
  }
}

const keyOf = ({ kind, id }: { kind: Kind; id: string }): string => `${kind} ${id}`;

/** Adds what the guard found to the metadata of a result. */
export function withNote<T extends { providerMetadata?: Metadata }>(result: T, judge: Judge): T {
  return judge.note ? { ...result, providerMetadata: { ...result.providerMetadata, ...judge.note } } : result;
}
