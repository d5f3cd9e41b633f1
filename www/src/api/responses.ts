/** OpenAI's Responses: one answer in items, told in events that say each text twice: piece by piece, and whole. */

import type { Said } from '../held/lane.ts';
import { askedIn } from './items.ts';
import { Shown } from './shown.ts';
import { type Fields, fieldsOf, isFields, listOf, stringOf } from './fields.ts';
import {
  type LaneFrame,
  misshapen,
  nowSeconds,
  ownId,
  type Shape,
  type Sight,
  type StreamEvent,
  type StreamReader,
  told,
} from './shape.ts';
import { writeEvent } from './sse.ts';

const isCall = (item: Fields): boolean => /_call$/.test(String(item.type)) && item.name !== undefined;
/** Events of a call's arguments. */
const CALL = /^response\.(?:function_call_arguments|mcp_call_arguments|custom_tool_call_input)\.(?:delta|done)$/;
const LAST = /^response\.(?:completed|incomplete|failed)$/;

/** What an item says. */
function saidIn(item: Fields, place: string, sight: Sight): Said[] {
  // Its result is a picture.
  const isPicture = item.type === 'image_generation_call' && (item.result ?? null) !== null;
  const seen = isPicture ? { ...item, result: sight.unseen(`the answer's ${place}`) } : item;
  if (!isCall(seen)) return sight.said(seen, place);
  const { name, arguments: given, input, output, error } = seen;
  return [...sight.call(place, name, given ?? input ?? ''), ...sight.said({ output, error }, place)];
}

const responseTo = (body: Fields, more: Fields): Fields => ({
  id: ownId('resp_'),
  object: 'response',
  created_at: nowSeconds(),
  status: 'in_progress',
  error: null,
  incomplete_details: null,
  instructions: null,
  metadata: {},
  model: stringOf(body.model),
  output: [],
  parallel_tool_calls: true,
  temperature: null,
  tool_choice: 'auto',
  tools: [],
  top_p: null,
  ...more,
});
const filtered = { status: 'incomplete', incomplete_details: { reason: 'content_filter' } };

class ResponseReader implements StreamReader {
  readonly lanes = 1;
  readonly #body: Fields;
  readonly #sight: Sight;
  readonly #shown = new Shown();
  /** What came so far, by its place, and the names of calls. */
  readonly #texts = new Map<string, string>();
  readonly #names = new Map<string, unknown>();
  #notes = 0;

  constructor(body: Fields, sight: Sight) {
    this.#body = body;
    this.#sight = sight;
  }

  read(out: StreamEvent): LaneFrame[] {
    const { json } = out;
    const type = String(json.type);
    if (type === 'error') throw told(json.error ?? json);
    if (!type.startsWith('response.')) throw misshapen('events of a response');
    const piece = type.endsWith('.delta');
    const said = typeof json.delta === 'string' && piece ? this.#piece(type, json) : this.#news(type, json);
    for (const { place, text } of said) this.#texts.set(place, (this.#texts.get(place) ?? '') + text);
    // An annotation stands between two pieces of its text, and does not end it.
    const closes = !piece && !type.includes('.annotation.');
    return [{ lane: 0, out, said, closes, last: LAST.test(type) }];
  }

  #piece(type: string, { delta, output_index, content_index, summary_index }: Fields): Said[] {
    const at = `output[${String(output_index)}]`;
    if (CALL.test(type)) return this.#sight.call(at, delta);
    const place = `${at}.${type.split('.')[1]}[${String(content_index ?? summary_index ?? 0)}]`;
    return [{ place, path: place, text: stringOf(delta) }];
  }

  /** What of an event did not come piece by piece. What repeats the request is not the model's. */
  #news(type: string, json: Fields): Said[] {
    const { response, item, output_index } = json;
    const place = `output[${String(output_index)}]`;
    if (CALL.test(type)) {
      return this.#more(place, this.#sight.call(place, this.#names.get(place), json.arguments ?? json.input));
    }
    const items = isFields(response) ? listOf(response.output).map(fieldsOf) : isFields(item) ? [item] : null;
    if (items === null) return this.#unknown(this.#sight.said(json, type));
    return items.flatMap((item, index) => {
      const at = isFields(response) ? `output[${index}]` : place;
      if (isCall(item)) this.#names.set(at, item.name);
      const said = saidIn(item, at, this.#sight);
      return [
        ...this.#more(
          at,
          said.filter(({ kind }) => kind),
        ),
        ...this.#unknown(said.filter(({ kind }) => !kind)),
      ];
    });
  }

  /** The part of a call that has not come yet; all of it where it is another one. */
  #more(place: string, said: Said[]): Said[] {
    const known = this.#texts.get(place) ?? '';
    return said.flatMap((part) => {
      if (!part.text.startsWith(known)) return [{ ...part, place: `${place}.again` }];
      return part.text === known ? [] : [{ ...part, text: part.text.slice(known.length) }];
    });
  }

  /** The texts that have not come yet. */
  #unknown(said: Said[]): Said[] {
    const known = new Set(this.#texts.values());
    const news = said.filter(({ text }) => !known.has(text));
    return news.map((part) => ({ ...part, place: `${part.place}.${this.#notes++}`, kind: 'note' as const }));
  }

  sent({ json }: StreamEvent): void {
    this.#shown.add(json);
  }

  ending(_lane: number, end: Fields = {}): StreamEvent[] {
    const known = this.#shown.response;
    const begun = responseTo(this.#body, known ?? {});
    const created = known ? [] : [{ type: 'response.created', response: begun }];
    const response = { ...begun, ...filtered, output: this.#shown.output, ...end };
    const last = { type: `response.${response.status}`, response };
    return [...created, last].map((event, at) => {
      const json = { ...event, sequence_number: this.#shown.next + at };
      return { json, wire: writeEvent({ event: event.type, data: JSON.stringify(json) }) };
    });
  }
}

export const responses: Shape = {
  streams: ({ stream }) => stream === true,
  turns: askedIn,
  refusal: (body) => responseTo(body, filtered),
  parts({ output }, sight) {
    if (!Array.isArray(output) || !output.every(isFields)) throw misshapen('a response');
    const said = output.flatMap((item, at) => saidIn(item, `output[${at}]`, sight));
    return [{ said, withhold: (answer) => ({ ...answer, ...filtered, output: [], output_text: '' }) }];
  },
  reader: (body, sight) => new ResponseReader(body, sight),
};
