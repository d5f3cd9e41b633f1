/** What a chat API's requests and answers look like to whoever judges them: one `Shape` for each API. */

import { GuardError } from '../errors.ts';
import type { Frame, Said } from '../held/lane.ts';
import type { Message } from '../types.ts';
import { asRead } from '../walk/reading.ts';
import { byPlace, Unreadable, walkBy, type WalkRules } from '../walk/walk.ts';
import { type Fields, isFields, stringOf } from './fields.ts';

/** An event of a stream: as it is written, and what it holds. */
export interface StreamEvent {
  wire: string;
  json: Fields;
}

/** A frame and its lane: the choice that it belongs to, or none. */
export interface LaneFrame extends Frame<StreamEvent> {
  lane: number | null;
}

/** Reads one streamed answer. */
export interface StreamReader {
  /** How many lanes were asked for. */
  readonly lanes: number;
  /** The frames of an event.
   * @throws GuardError `bad_input` for an event of another shape, `network` for an error that the API tells. */
  read(event: StreamEvent): LaneFrame[];
  /** Notes what the caller was given. */
  sent(event: StreamEvent): void;
  /** The events that end a lane here as filtered, behind those that were sent; the last of them has the fields of `end`
   * as well. */
  ending(lane: number, end?: Fields): StreamEvent[];
}

/** A part of a whole answer that is judged for itself. */
export interface Part {
  said: Said[];
  /** The answer without it. */
  withhold(answer: Fields): Fields;
}

export interface Shape {
  /** Whether a stream's events are lines of JSON, and the data of its last event where that is no JSON. */
  lines?: boolean;
  done?: string;
  /** Whether a request asks for a stream. */
  streams(body: Fields): boolean;
  /** The conversation of a request. */
  turns(body: Fields, sight: Sight): Message[];
  /** A whole answer that refuses. */
  refusal(body: Fields): Fields;
  /** @throws GuardError `bad_input` for an answer of another shape. */
  parts(answer: Fields, sight: Sight): Part[];
  reader(body: Fields, sight: Sight): StreamReader;
}

/** Fields that no model writes: marks, and what only machines read. */
const OPAQUE = words(`type id role index status signature data encrypted_content encrypted_index call_id item_id
  tool_use_id output_index content_index summary_index sequence_number finish_reason native_finish_reason stop_reason
  stop_sequence matched_stop logprobs token_ids content_filter_results obfuscation`);
const MEDIA = words(`audio input_audio image images image_url input_image image_file video video_url file input_file
  file_data b64_json partial_image_b64`);

function words(text: string): ReadonlySet<string> {
  return new Set(text.split(/\s+/));
}

/** What meets something that is no text, and refuses it or sees nothing. */
export type Eyes = Pick<Sight, 'unseen'>;

/** What is looked at. */
export class Sight {
  /** Whether pictures, sounds and files pass unseen. */
  readonly #blind: boolean;
  readonly #calls: boolean;
  readonly #mend: string;
  readonly #rules: WalkRules;

  /** `pass` names fields that are not looked at, `mend` what to do about what cannot be judged. */
  constructor({
    blind,
    calls,
    pass,
    mend,
  }: { blind: boolean; calls: boolean; pass?: ReadonlySet<string>; mend: string }) {
    this.#blind = blind;
    this.#calls = calls;
    this.#mend = mend;
    this.#rules = {
      skips: (name) => OPAQUE.has(name) || (blind && MEDIA.has(name)) || (pass?.has(name) ?? false),
      // The names are the API's, which is not the one that is guarded against.
      knows: () => true,
      isMedia: (name) => MEDIA.has(name),
      passes: (_, value) => value === '',
      mayList: () => false,
      mayListNumbers: () => blind,
    };
  }

  /** Meets something that is no text.
   * @throws GuardError `bad_input`, unless it may pass unseen */
  unseen(place: string): '' {
    if (this.#blind) return '';
    throw new GuardError('bad_input', `${place} cannot be judged, only text; ${this.#mend}`);
  }

  /** Every text in a value of an answer.
   * @throws GuardError `bad_input` for what cannot be judged */
  said(value: unknown, at = ''): Said[] {
    try {
      return walkBy(this.#rules, value, at);
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      const what = `the answer cannot be judged: its ${error.place} ${error.what}`;
      throw new GuardError('bad_input', what, { cause: error });
    }
  }

  /** The same, as one text that does not grow. */
  notes(value: unknown, at: string): Said[] {
    const text = asRead(this.said(value, at).map(({ text }) => text));
    return text === '' ? [] : [{ place: at, path: at, text, kind: 'note' }];
  }

  /** A part of the call of a tool. */
  call(place: string, ...texts: unknown[]): Said[] {
    const text = texts.map((part) => asText(part)).join(' ');
    return this.#calls && text !== '' ? [{ place, path: place, text, kind: 'call' }] : [];
  }
}

const asText = (part: unknown): string => (typeof part === 'string' ? part : part ? JSON.stringify(part) : '');

/** The texts of parts by their place. */
export const textsBy = (said: readonly Said[]): Map<string, string[]> =>
  byPlace(said.map((part) => ({ ...part, named: false })));

/** What must be an object of JSON.
 * @throws GuardError `bad_input` that says what was `expected` */
export function objectIn(text: string, expected: string): Fields {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // Told below.
  }
  if (!isFields(json)) throw misshapen(expected);
  return json;
}

/** An answer of another shape than the request asked for. */
export const misshapen = (expected: string): GuardError =>
  new GuardError('bad_input', `the model's API did not answer with ${expected}, so nobody can judge what it says`);

/** An error that an API tells in the middle of a stream. */
export function told(error: unknown): GuardError {
  const message = isFields(error) ? error['message'] : error;
  const why = stringOf(message).slice(0, 300) || 'it does not say why';
  return new GuardError('network', `the model's API failed: ${why}`);
}

/** An id of our own making. */
export const ownId = (prefix: string): string => `${prefix}${crypto.randomUUID()}`;
export const nowSeconds = (): number => Math.floor(Date.now() / 1000);
