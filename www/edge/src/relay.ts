/** A streamed answer on its way through: chunks come from the upstream, and leave when their text was released. */

import { isBlocked } from 'rsafe/held';
import type { Message } from 'rsafe/workerd';

import type { App } from './app.ts';
import { piecesOf, type Reason, reasonOf } from './completion.ts';
import { HeldChoice, type Reading } from './held.ts';
import { errorBody, type Fields, HttpError, isFields } from './http.ts';
import type { ChatJudge } from './judge.ts';
import { Notes } from './notes.ts';
import { readEvents, writeEvent } from './sse.ts';
import { messageOf } from './upstream.ts';

export interface Relay {
  app: App;
  judge: ChatJudge;
  /** The conversation that is answered. */
  messages: readonly Message[];
  /** How many choices were asked for. */
  choices: number;
  /** What a chunk of ours begins with until the upstream has sent one. */
  envelope: Fields;
  /** The upstream's next bytes, or null at the end. */
  next: () => Promise<Uint8Array | null>;
  /** Ends the upstream and the checks. */
  stop: AbortController;
}

const DONE = '[DONE]';

/** The events to send. Each choice waits for its own text only; one that is withheld does not end the others. */
export async function* relay(relay: Relay): AsyncGenerator<string, void, undefined> {
  const { judge, messages, choices, envelope, next, stop } = relay;
  const { maxAnswerBytes, passFields } = relay.app.config;
  const stream = new HeldStream({ judge, messages, notes: new Notes(judge), passFields }, choices, envelope);
  const ready = () => stream.take().map((chunk) => write(chunk));
  let failure: unknown;
  try {
    let done = false;
    for await (const { data } of readEvents(next, maxAnswerBytes)) {
      done = data.trim() === DONE;
      if (done) break;
      await stream.accept(await chunkOf(data, judge));
      yield* ready();
      if (stream.cutShort) break;
    }
    if (!done && !stream.over) failure = new HttpError(502, 'upstream', 'the upstream broke off');
  } catch (error) {
    failure = error;
  }
  try {
    // What was said before a failure is judged to its end, too.
    await stream.finish(failure !== undefined);
    yield* ready();
  } finally {
    stop.abort();
  }
  if (failure !== undefined) yield write(errorBody(failure));
  yield writeEvent({ data: DONE });
}

/** The choices of a stream, and the chunks without any. */
class HeldStream {
  readonly #reading: Reading;
  readonly #expected: number;
  readonly #choices = new Map<number, HeldChoice>();
  #loose: Fields[] = [];
  #envelope: Fields;

  constructor(reading: Reading, expected: number, envelope: Fields) {
    this.#reading = reading;
    this.#expected = expected;
    this.#envelope = envelope;
  }

  async accept(chunk: Fields): Promise<void> {
    const { choices, ...envelope } = chunk;
    if (!Array.isArray(choices)) throw withoutChoices(envelope);
    try {
      await this.#reading.notes.read(piecesOf(envelope, '', this.#reading.passFields));
    } catch (error) {
      if (isBlocked(error)) return this.#withhold(reasonOf(error));
      throw error;
    }
    this.#envelope = envelope;
    if (choices.length === 0) this.#loose.push(chunk);
    for (const choice of choices) {
      if (!isFields(choice)) throw new HttpError(502, 'upstream', 'the upstream sent a choice that is not an object');
      await this.#choice(choice.index).accept(envelope, choice);
    }
  }

  #choice(index: unknown): HeldChoice {
    const at = Number(index ?? 0);
    if (!Number.isInteger(at) || at < 0 || at >= this.#expected) {
      throw new HttpError(502, 'upstream', `the upstream sent choice ${at} where ${this.#expected} were asked for`);
    }
    const choice = this.#choices.get(at) ?? new HeldChoice(at, this.#reading);
    this.#choices.set(at, choice);
    return choice;
  }

  /** What stands beside the choices is everybody's: none goes on. */
  #withhold(reason: Reason): void {
    for (let at = 0; at < this.#expected; at++) {
      const choice = this.#choice(at);
      if (!choice.over) choice.withhold(this.#envelope, reason);
    }
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

  async finish(broken: boolean): Promise<void> {
    for (const choice of this.#choices.values()) await choice.finish(this.#envelope, broken);
  }
}

const write = (chunk: object): string => writeEvent({ data: JSON.stringify(chunk) });

/** An event that is no chunk of a chat is another API's, and its text nobody here knows how to hold. */
function withoutChoices({ type }: Fields): HttpError {
  const api =
    typeof type !== 'string' ? '' : type.startsWith('response.') ? ' of the Responses API' : ' of another API';
  return new HttpError(502, 'upstream', `the upstream sent an event${api} without \`choices\`, which cannot be judged`);
}

async function chunkOf(data: string, judge: ChatJudge): Promise<Fields> {
  let chunk: unknown;
  try {
    chunk = JSON.parse(data);
  } catch {
    // Told below.
  }
  if (!isFields(chunk)) throw new HttpError(502, 'upstream', 'the upstream sent an event that is not a JSON object');
  if (chunk.error) throw new HttpError(502, 'upstream', `the upstream failed${await messageOf(chunk, judge)}`);
  // Random letters that hide a chunk's length: they cannot be told from text, and say nothing.
  const { obfuscation: _, ...rest } = chunk;
  return rest;
}
