/** A streamed answer on its way through: chunks come from the upstream, and leave when their text was released. */

import type { Guard, Message } from 'rsafe/workerd';

import type { App } from './app.ts';
import type { Watch } from './growing.ts';
import { HeldChoice } from './held.ts';
import { errorBody, type Fields, HttpError, isFields } from './http.ts';
import { readEvents, writeEvent } from './sse.ts';
import { messageOf } from './upstream.ts';

export interface Relay {
  app: App;
  guard: Guard;
  /** The conversation that is answered. */
  messages: readonly Message[];
  /** How many choices were asked for. */
  choices: number;
  /** The upstream's next bytes, or null at the end. */
  next: () => Promise<Uint8Array | null>;
  /** Ends the upstream and the checks. */
  stop: AbortController;
}

const DONE = '[DONE]';

/** The events to send. Each choice waits for its own text only; one that is withheld does not end the others. */
export async function* relay({ app, guard, messages, choices, next, stop }: Relay): AsyncGenerator<string, void, undefined> {
  const { config, holder } = app;
  const stream = new HeldStream({ guard, holder, messages, signal: stop.signal }, choices);
  const ready = () => stream.take().map((chunk) => write(chunk));
  let failure: unknown;
  try {
    let done = false;
    for await (const { data } of readEvents(next, config.maxAnswerBytes)) {
      done = data.trim() === DONE;
      if (done) break;
      await stream.accept(chunkOf(data));
      yield* ready();
      if (stream.cutShort) break;
    }
    if (!done && !stream.over) failure = new HttpError(502, 'upstream', 'the upstream broke off');
  } catch (error) {
    failure = error;
  }
  try {
    // What was said before a failure is judged to its end, too.
    await stream.finish();
    yield* ready();
  } finally {
    stop.abort();
  }
  if (failure !== undefined) yield write(errorBody(failure));
  yield writeEvent({ data: DONE });
}

/** The choices of a stream, and the chunks without any. */
class HeldStream {
  readonly #watch: Watch;
  readonly #expected: number;
  readonly #choices = new Map<number, HeldChoice>();
  #loose: Fields[] = [];
  #envelope: Fields = {};

  constructor(watch: Watch, expected: number) {
    this.#watch = watch;
    this.#expected = expected;
  }

  async accept(chunk: Fields): Promise<void> {
    this.#envelope = chunk;
    const choices: unknown[] = Array.isArray(chunk.choices) ? chunk.choices : [];
    if (choices.length === 0) this.#loose.push(chunk);
    for (const choice of choices) {
      if (!isFields(choice)) throw new HttpError(502, 'upstream', 'the upstream sent a choice that is not an object');
      await this.#choice(choice.index).accept({ ...chunk, choices: [choice] }, choice);
    }
  }

  #choice(index: unknown): HeldChoice {
    const at = Number(index ?? 0);
    if (!Number.isInteger(at) || at < 0 || at >= this.#expected) {
      throw new HttpError(502, 'upstream', `the upstream sent choice ${at} where ${this.#expected} were asked for`);
    }
    const choice = this.#choices.get(at) ?? new HeldChoice(at, this.#watch);
    this.#choices.set(at, choice);
    return choice;
  }

  /** What may go now. Chunks without a choice, such as the usage, go when nothing waits before them. */
  take(): Fields[] {
    const all = [...this.#choices.values()];
    const ready = all.flatMap((choice) => choice.take());
    return all.every((choice) => choice.empty) ? [...ready, ...this.#loose.splice(0)] : ready;
  }

  /** Whether every choice has come to its end. */
  get over(): boolean {
    return this.#choices.size === this.#expected && [...this.#choices.values()].every((choice) => choice.over);
  }

  /** Whether nothing that the upstream may still say could be told. */
  get cutShort(): boolean {
    return this.over && [...this.#choices.values()].some((choice) => choice.withheld);
  }

  async finish(): Promise<void> {
    for (const choice of this.#choices.values()) await choice.finish(this.#envelope);
  }
}

const write = (chunk: object): string => writeEvent({ data: JSON.stringify(chunk) });

function chunkOf(data: string): Fields {
  let chunk: unknown;
  try {
    chunk = JSON.parse(data);
  } catch {
    // Told below.
  }
  if (!isFields(chunk)) throw new HttpError(502, 'upstream', 'the upstream sent an event that is not a JSON object');
  if (chunk.error) throw new HttpError(502, 'upstream', `the upstream failed${messageOf(chunk)}`);
  return chunk;
}
