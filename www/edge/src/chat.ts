/** `POST /v1/chat/completions`: all that goes up is judged before the upstream is asked, its answer before it is told. */

import { asRead, type Piece, runsOf, sideBySide } from 'rsafe/walk';
import type { Message, Verdict } from 'rsafe/workerd';

import type { App } from './app.ts';
import * as completion from './completion.ts';
import { badInput, type Fields, HttpError, isFields, json, readBody, toHttpError } from './http.ts';
import type { Judge } from './judge.ts';
import { piecesOf, readMessages, spokenIn } from './messages.ts';
import { relay } from './relay.ts';
import { writeEvent } from './sse.ts';
import { ask } from './upstream.ts';

export async function chat(app: App): Promise<Response> {
  const { config, request } = app;
  if (config.upstream === null)
    throw new HttpError(404, 'not_found', 'no upstream is set; set UPSTREAM_URL to relay chats');
  const body = await readBody(request, config.maxBodyBytes);
  const messages = readMessages(body.messages);
  if (!messages.some(({ role }) => role === 'user')) throw badInput('messages must hold a message of the user');
  completion.refuseUnjudgeable(body, config.maxChoices);
  const { messages: turns, ...rest } = body;
  const spoken = spokenIn(turns as unknown[], config.trustedRoles, config.passFields);
  const beside = fieldsOf(piecesOf(rest, '', config.passFields));

  const guard = await app.guard();
  const asking = app.judge(guard, request.signal);
  const flagged =
    (await asking.prompt([lastOfUser(messages)])) ??
    (await asking.runs(runsOf(spoken), messages)) ??
    (await first(beside, (text) => asking.prompt(text)));
  if (flagged) return withheldPrompt(app, body, flagged);

  await app.enter('relaying');
  const gone = new AbortController();
  const signal = AbortSignal.any([gone.signal, request.signal]);
  const judge = app.judge(guard, signal);
  const upstream = await ask(app, config.upstream, body, signal, judge);
  if (!upstream.streams) return json(await judgeWhole(app, judge, messages, await upstream.whole()));
  // Nothing is told before the upstream speaks: until then, an error still has a status of its own.
  const opening = await upstream.next();
  let begun = false;
  const next = () => (begun ? upstream.next() : ((begun = true), Promise.resolve(opening)));
  const choices = typeof body.n === 'number' ? body.n : 1;
  const envelope = completion.ownEnvelope('chat.completion.chunk', body.model);
  return app.stream(relay({ app, judge, messages, choices, envelope, next, stop: gone }), gone);
}

/** What a rule of the policy is written for, as it stands. */
function lastOfUser(messages: readonly Message[]): string {
  return String(messages.findLast(({ role }) => role === 'user')?.content ?? '');
}

/** The pieces of a request by its field. Fields that nobody knows count as one. */
function fieldsOf(pieces: readonly Piece[]): string[][] {
  const outermost = (place: string) => /^[^.[{]*/.exec(place)?.[0] ?? '';
  const fields = new Map<string, Piece[]>();
  for (const piece of pieces) {
    const field = outermost(piece.place);
    fields.set(field, [...(fields.get(field) ?? []), piece]);
  }
  return [...fields.values()].map(sideBySide);
}

/** The first of these texts that is flagged, as its verdict. */
async function first(
  texts: readonly string[][],
  judge: (text: string[]) => Promise<Verdict | null>,
): Promise<Verdict | null> {
  for (const text of texts) {
    const flagged = await judge(text);
    if (flagged) return flagged;
  }
  return null;
}

/** Answers like a model that was filtered: clients of OpenAI know that shape. */
function withheldPrompt(app: App, body: Fields, verdict: Verdict): Response {
  const rsafe = completion.note('prompt', 0, completion.reasonOf(verdict));
  if (body.stream !== true) {
    const usage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
    const envelope = completion.ownEnvelope('chat.completion', body.model);
    return json({ ...envelope, choices: [completion.withheldChoice(0)], usage, rsafe });
  }
  const envelope = completion.ownEnvelope('chat.completion.chunk', body.model);
  const role = { index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null };
  const chunks = [{ ...envelope, choices: [role] }, completion.withheldChunk(envelope, 0, rsafe)];
  const lines = [...chunks.map((chunk) => JSON.stringify(chunk)), '[DONE]'];
  return app.stream(
    (async function* () {
      for (const data of lines) yield writeEvent({ data });
    })(),
    new AbortController(),
  );
}

/** Judges each choice of a completion, and withholds those that do not pass; all of them if it is what stands beside. */
async function judgeWhole(app: App, judge: Judge, messages: Message[], answer: Fields): Promise<Fields> {
  if (!Array.isArray(answer.choices) || !answer.choices.every(isFields)) {
    throw new HttpError(502, 'upstream', 'the upstream answered without choices');
  }
  const { passFields } = app.config;
  const { choices: offered, ...beside } = answer;
  const why = (pieces: readonly Piece[], context: Message[]) =>
    first(completion.textsOf(pieces), (text) => judge.response(context, asRead(text))).catch(unavailable);

  const outside = await why(completion.piecesOf(beside, '', passFields), []);
  if (outside) {
    const choices = answer.choices.map((_, index) => completion.withheldChoice(index));
    const rsafe = completion.note('response', 0, completion.reasonOf(outside));
    return { ...completion.ownEnvelope('chat.completion', null), choices, rsafe };
  }
  let rsafe: object | undefined;
  const choices: Fields[] = [];
  for (const [index, choice] of answer.choices.entries()) {
    const told = completion.withPlainLogprobs(choice, completion.spokenIn(choice, 'message'));
    const flagged = await why(completion.piecesOf({ ...told, logprobs: null }, '', passFields), messages);
    if (flagged) rsafe ??= completion.note('response', index, completion.reasonOf(flagged));
    choices.push(flagged ? completion.withheldChoice(index) : told);
  }
  return { ...answer, choices, ...(rsafe ? { rsafe } : {}) };
}

/** That an answer cannot be judged is never the caller's mistake. */
function unavailable(error: unknown): never {
  const { status, code, message, headers } = toHttpError(error);
  throw status === 400 ? new HttpError(503, code, message) : new HttpError(status, code, message, headers);
}
