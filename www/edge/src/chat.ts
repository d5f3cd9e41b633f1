/** `POST /v1/chat/completions`: the prompt is judged before the upstream is asked, its answer before it is told. */

import type { Guard, Message, Verdict } from 'rsafe/workerd';

import type { App } from './app.ts';
import * as completion from './completion.ts';
import { badInput, type Fields, HttpError, isFields, json, readBody, toHttpError } from './http.ts';
import { readMessages } from './messages.ts';
import { relay } from './relay.ts';
import { writeEvent } from './sse.ts';
import { ask } from './upstream.ts';

export async function chat(app: App): Promise<Response> {
  const { config, holder, request } = app;
  if (config.upstream === null) throw new HttpError(404, 'not_found', 'no upstream is set; set UPSTREAM_URL to relay chats');
  const body = await readBody(request, config.maxBodyBytes);
  const messages = readMessages(body.messages);
  if (!messages.some(({ role }) => role === 'user')) throw badInput('messages must hold a message of the user');
  completion.refuseUnjudgeable(body, config.maxChoices);

  const guard = await app.guard();
  const verdict = await holder.check(guard, messages, { target: 'prompt', signal: request.signal });
  if (verdict.flagged) return withheldPrompt(app, body, verdict);

  await app.enter('relaying');
  const gone = new AbortController();
  const signal = AbortSignal.any([gone.signal, request.signal]);
  const upstream = await ask(app, config.upstream, body, signal);
  if (!upstream.streams) return json(await judgeWhole(app, guard, messages, await upstream.whole(), signal));
  // Nothing is told before the upstream speaks: until then, an error still has a status of its own.
  const first = await upstream.next();
  let begun = false;
  const next = () => (begun ? upstream.next() : ((begun = true), Promise.resolve(first)));
  const choices = typeof body.n === 'number' ? body.n : 1;
  return app.stream(relay({ app, guard, messages, choices, next, stop: gone }), gone);
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

/** Judges each choice of a completion, and withholds those that do not pass. */
async function judgeWhole(
  app: App,
  guard: Guard,
  messages: Message[],
  answer: Fields,
  signal: AbortSignal,
): Promise<Fields> {
  if (!Array.isArray(answer.choices) || !answer.choices.every(isFields)) {
    throw new HttpError(502, 'upstream', 'the upstream answered without choices');
  }
  let rsafe: object | undefined;
  const choices: Fields[] = [];
  for (const [index, choice] of answer.choices.entries()) {
    const reason = await judgeMessage(app, guard, messages, completion.spokenIn(choice, 'message'), signal);
    if (reason) rsafe ??= completion.note('response', index, reason);
    choices.push(reason ? completion.withheldChoice(index) : choice);
  }
  return { ...answer, choices, ...(rsafe ? { rsafe } : {}) };
}

/** Why a message must be withheld, or null. */
async function judgeMessage(
  { holder }: App,
  guard: Guard,
  messages: Message[],
  message: Fields,
  signal: AbortSignal,
): Promise<completion.Reason | null> {
  for (const content of completion.textsOf(message).values()) {
    const conversation: Message[] = [...messages, { role: 'assistant', content }];
    const checked = holder.check(guard, conversation, { target: 'response', signal });
    const verdict = await checked.catch(unavailable);
    if (verdict.flagged) return completion.reasonOf(verdict);
  }
  return null;
}

/** That an answer cannot be judged is never the caller's mistake. */
function unavailable(error: unknown): never {
  const { status, code, message, headers } = toHttpError(error);
  throw status === 400 ? new HttpError(503, code, message) : new HttpError(status, code, message, headers);
}
