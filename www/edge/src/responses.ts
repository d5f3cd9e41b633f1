/** `POST /v1/responses`: OpenAI's Responses, judged up and down as chats are, and read as `rsafe/fetch` reads them. */

import {
  type Ends,
  isBlocked,
  judgeAnswer,
  type LaneFrame,
  refusalEvents,
  relay,
  responses,
  Sight,
  type StreamEvent,
  type StreamReader,
} from 'rsafe/held';
import { asRead, sideBySide, type Spoken } from 'rsafe/walk';
import type { Message } from 'rsafe/workerd';

import type { App } from './app.ts';
import { type Answered, blockedIn, send } from './asked.ts';
import { note, piecesOf, reasonOf, textsOf } from './completion.ts';
import { badInput, type Fields, HttpError, isFields, json, readBody, toHttpError, unavailable } from './http.ts';
import { readRole, spokenIn } from './messages.ts';
import { upstreamOf } from './upstream.ts';

export async function respond(app: App): Promise<Response> {
  upstreamOf(app);
  const { passFields, maxBodyBytes } = app.config;
  const body = await readBody(app.request, maxBodyBytes);
  refuseUnjudgeable(body);
  const sight = new Sight({ blind: false, calls: true, pass: passFields, mend: 'leave it out' });
  const messages = responses.turns(body, sight);
  const { input, instructions, ...beside } = body;
  const items = itemsOf(body);
  const asked = {
    messages: items.map((item) => inOne(item, sight)),
    spoken: items.map((item, at) => spokenBy(item, at, app)),
    beside,
  };

  const guard = await app.guard();
  const reader = responses.reader(body, sight);
  const flagged = await blockedIn(app, guard, asked);
  if (flagged) {
    const rsafe = note('prompt', 0, reasonOf(flagged));
    if (body.stream !== true) return json({ ...responses.refusal(body), rsafe });
    return app.stream(one(refusalEvents(responses, reader, { rsafe })), new AbortController());
  }

  const answered = await send(app, guard, 'responses', body);
  if (answered.upstream.streams) {
    const held = { app, messages, answered, reader: new Beside(reader, body, passFields) };
    return app.stream(heldBack(held), answered.gone);
  }
  const { judge } = answered;
  const where = () => 'response' as const;
  try {
    const answer = await answered.upstream.whole();
    const told = { judge, shape: responses, messages, sight, where, ends };
    try {
      for (const text of textsOf(piecesOf(besideIn(answer, body), '', passFields))) {
        await judge.answered('response', [], asRead(text));
      }
    } catch (error) {
      return json({ ...responses.refusal(body), ...ends(error) });
    }
    return json(await judgeAnswer(answer, told));
  } catch (error) {
    throw ofUpstream(error);
  }
}

/** Options that would bring back what cannot be judged. */
function refuseUnjudgeable({ stream, top_logprobs, include }: Fields): void {
  if (stream !== undefined && stream !== null && typeof stream !== 'boolean') {
    throw badInput('stream must be true or false', 'stream');
  }
  const logprobs = Array.isArray(include) && include.some((name) => /logprobs/.test(String(name)));
  if (top_logprobs || logprobs) {
    const param = logprobs ? 'include' : 'top_logprobs';
    throw badInput(`${param} asks for words beside the answer's, which cannot be judged; leave them out`, param);
  }
}

/** The items of a request, the instructions before them. */
function itemsOf({ instructions, input }: Fields): unknown[] {
  const before = (instructions ?? null) === null ? [] : [{ role: 'system', content: instructions }];
  if ((input ?? null) === null) return before;
  return [...before, ...(Array.isArray(input) ? input : [{ role: 'user', content: input }])];
}

/** An item as one message. */
function inOne(item: unknown, sight: Sight): Message {
  const [first, ...others] = responses.turns({ input: [item] }, sight);
  const content = [first, ...others].map((turn) => String(turn?.content ?? '')).filter(Boolean);
  return { role: first?.role ?? 'assistant', content: content.join('\n') };
}

/** All that is said in an item, save by those whom the owner trusts. */
function spokenBy(item: unknown, at: number, { config }: App): Spoken {
  const type = isFields(item) ? (item.type ?? 'message') : 'message';
  // A role beside anything else is the caller's word, whom nobody trusts.
  const trusted = type === 'message' ? config.trustedRoles : new Set<string>();
  const [spoken] = spokenIn([item], trusted, config.passFields);
  if (type === 'message') return { ...spoken!, role: readRole(isFields(item) ? item.role : 'user', `item ${at}`) };
  // What a tool gave is a stranger's, the rest an answer that the caller brings.
  return { ...spoken!, role: /_output$|^mcp_/.test(String(type)) ? 'tool' : 'assistant' };
}

/** What is withheld ends the answer; that it cannot be judged fails it. */
const ends: Ends = (error) => (isBlocked(error) ? { rsafe: note('response', 0, reasonOf(error)) } : unavailable(error));

/** An error in the reading of an answer is the upstream's. */
const ofUpstream = (error: unknown): HttpError => {
  const known = toHttpError(error);
  return error instanceof HttpError ? error : new HttpError(502, 'upstream', known.message);
};

/** What a response holds beside its items, and does not repeat of the request. */
function besideIn({ output: _, ...response }: Fields, body: Fields): Fields {
  const own = ([field, value]: [string, unknown]) => JSON.stringify(value) !== JSON.stringify(body[field]);
  return Object.fromEntries(Object.entries(response).filter(own));
}

/** A reader that sees, too, what stands beside the items. */
class Beside implements StreamReader {
  readonly lanes = 1;
  readonly #reader: StreamReader;
  readonly #body: Fields;
  readonly #pass: ReadonlySet<string>;
  readonly #known = new Set<string>();

  constructor(reader: StreamReader, body: Fields, pass: ReadonlySet<string>) {
    this.#reader = reader;
    this.#body = body;
    this.#pass = pass;
  }

  read(event: StreamEvent): LaneFrame[] {
    const { response } = event.json;
    const beside = isFields(response) ? piecesOf(besideIn(response, this.#body), 'response', this.#pass) : [];
    const text = asRead(sideBySide(beside));
    const frames = this.#reader.read(event);
    if (text === '' || this.#known.has(text)) return frames;
    this.#known.add(text);
    const place = `response.${this.#known.size}`;
    return frames.map((frame) => ({ ...frame, said: [{ place, path: place, text, kind: 'note' }, ...frame.said] }));
  }

  sent(event: StreamEvent): void {
    this.#reader.sent(event);
  }

  ending(lane: number, end?: Fields): StreamEvent[] {
    return this.#reader.ending(lane, end);
  }
}

interface Held {
  app: App;
  messages: readonly Message[];
  answered: Answered;
  reader: StreamReader;
}

/** The events to send. What fails ends as a response that failed; nothing that is held comes out. */
async function* heldBack({ app, messages, answered, reader }: Held): AsyncGenerator<string, void, undefined> {
  const { judge, gone, next } = answered;
  const watch = judge.watch(messages, () => 'response');
  try {
    const limit = app.config.maxAnswerBytes;
    yield* relay({ shape: responses, reader, watch, next, limit, ends });
  } catch (error) {
    const { code, message } = ofUpstream(error);
    const failed = {
      status: 'failed',
      incomplete_details: null,
      error: { code: 'server_error', message },
      rsafe: { error: { code, message } },
    };
    for (const { wire } of reader.ending(0, failed)) yield wire;
  } finally {
    gone.abort();
  }
}

async function* one(text: string): AsyncGenerator<string, void, undefined> {
  yield text;
}
