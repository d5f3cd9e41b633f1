/** One request and its answer. */

import type { Fields } from '../api/fields.ts';
import { brokenOff, refusalEvents, relay } from '../api/relay.ts';
import { objectIn, type Shape } from '../api/shape.ts';
import { judgeAnswer } from '../api/whole.ts';
import { toGuardError } from '../errors.ts';
import { isBlocked, type Judge } from '../held/judge.ts';
import { follow } from '../signals.ts';
import type { Guard, Message } from '../types.ts';
import { judgeBy, judgePrompt, whereIn } from './judge.ts';
import type { Settings, Where } from './options.ts';
import type { Asked } from './request.ts';
import { answered, bodyOf } from './response.ts';

const EVENTS = 'text/event-stream';
const LINES = 'application/x-ndjson';

export class Exchange {
  readonly #settings: Settings;
  readonly #asked: Asked;
  readonly #body: Fields;
  readonly #shape: Shape;
  readonly #messages: Message[];
  readonly #judge: Judge<Where>;
  readonly #end: (reason?: unknown) => void;

  constructor(guard: Guard, settings: Settings, asked: Asked, body: Fields, shape: Shape) {
    this.#settings = settings;
    this.#asked = asked;
    this.#body = body;
    this.#shape = shape;
    this.#messages = shape.turns(body, settings.sight);
    const { controller, stop } = follow(asked.signal);
    this.#judge = judgeBy(guard, settings, controller.signal);
    this.#end = (reason) => {
      stop();
      controller.abort(reason);
    };
  }

  async run(): Promise<Response> {
    let streams = false;
    try {
      if (!(await this.#mayGoUp())) return this.#refusal();
      const response = await this.#settings.fetch(this.#asked.input, this.#asked.init);
      if (!response.ok) return response;
      streams = this.#isStream(response);
      if (streams) return this.#held(response);
      return await this.#whole(response).catch(this.#told);
    } finally {
      if (!streams) this.#end();
    }
  }

  async #mayGoUp(): Promise<boolean> {
    try {
      await judgePrompt(this.#judge, this.#messages);
      return true;
    } catch (error) {
      return this.#ends(error) ? false : this.#told(error);
    }
  }

  #refusal(): Response {
    const { lines } = this.#shape;
    if (!this.#shape.streams(this.#body)) {
      return answered(JSON.stringify(this.#shape.refusal(this.#body)), 'application/json');
    }
    return answered(refusalEvents(this.#shape, this.#reader()), lines ? LINES : EVENTS);
  }

  #isStream({ headers }: Response): boolean {
    const type = headers.get('content-type') ?? '';
    return this.#shape.lines ? /ndjson|jsonl/i.test(type) : type.toLowerCase().startsWith(EVENTS);
  }

  /** The response with its stream held back. */
  #held(response: Response): Response {
    const upstream = response.body?.getReader();
    const next = async () => (await upstream?.read().catch(brokenOff))?.value ?? null;
    const watch = this.#judge.watch(this.#messages, whereIn);
    const texts = relay({ shape: this.#shape, reader: this.#reader(), watch, next, ends: this.#ends });
    const leave = async (reason?: unknown) => {
      this.#end(reason);
      await upstream?.cancel(reason).catch(() => undefined);
    };
    const told = (error: unknown) => this.#told(error);
    return answered(bodyOf(texts, leave, told), response.headers.get('content-type') ?? EVENTS, response);
  }

  #reader() {
    return this.#shape.reader(this.#body, this.#settings.sight);
  }

  /** The response as it came, or without what was blocked. */
  async #whole(response: Response): Promise<Response> {
    const bytes = await response.arrayBuffer().catch(brokenOff);
    const answer = objectIn(new TextDecoder().decode(bytes), 'a JSON object');
    const kept = await judgeAnswer(answer, {
      judge: this.#judge,
      shape: this.#shape,
      messages: this.#messages,
      sight: this.#settings.sight,
      where: whereIn,
      ends: this.#ends,
    });
    const type = response.headers.get('content-type') ?? 'application/json';
    return answered(kept === answer ? bytes : JSON.stringify(kept), type, response);
  }

  readonly #ends = (error: unknown): Fields | null => (isBlocked(error) && !this.#settings.throws ? {} : null);

  /** Aborted, a call fails with its signal's reason, as every `fetch`. */
  readonly #told = (error: unknown): never => {
    throw this.#asked.signal?.aborted ? this.#asked.signal.reason : toGuardError(error);
  };
}
