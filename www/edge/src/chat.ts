/** `POST /v1/chat/completions`: all that goes up is judged before the upstream is asked, its answer before it is told. */

import { isBlocked } from 'rsafe/held';
import { asRead, type Piece } from 'rsafe/walk';
import type { Message } from 'rsafe/workerd';

import type { App } from './app.ts';
import { blockedIn, send } from './asked.ts';
import * as completion from './completion.ts';
import { badInput, type Fields, HttpError, isFields, json, readBody, unavailable } from './http.ts';
import type { ChatJudge } from './judge.ts';
import { readMessages, spokenIn } from './messages.ts';
import { relay } from './relay.ts';
import { writeEvent } from './sse.ts';
import { upstreamOf } from './upstream.ts';

export async function chat(app: App): Promise<Response> {
  const { config, request } = app;
  upstreamOf(app);
  const body = await readBody(request, config.maxBodyBytes);
  const messages = readMessages(body.messages);
  if (!messages.some(({ role }) => role === 'user')) {
    throw badInput('messages must hold a message of the user', 'messages');
  }
  completion.refuseUnjudgeable(body, config.maxChoices);
  const { messages: turns, ...beside } = body;
  const spoken = spokenIn(turns as unknown[], config.trustedRoles, config.passFields);

  const guard = await app.guard();
  const flagged = await blockedIn(app, guard, { messages, spoken, beside });
  if (flagged) return withheldPrompt(app, body, flagged);

  const { judge, gone, upstream, next } = await send(app, guard, 'chat/completions', body);
  if (!upstream.streams) return json(await judgeWhole(app, judge, messages, await upstream.whole()));
  const choices = typeof body.n === 'number' ? body.n : 1;
  const envelope = completion.ownEnvelope('chat.completion.chunk', body.model);
  return app.stream(relay({ app, judge, messages, choices, envelope, next, stop: gone }), gone);
}

/** Answers like a model that was filtered: clients of OpenAI know that shape. */
function withheldPrompt(app: App, body: Fields, error: unknown): Response {
  const rsafe = completion.note('prompt', 0, completion.reasonOf(error));
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
async function judgeWhole(app: App, judge: ChatJudge, messages: Message[], answer: Fields): Promise<Fields> {
  if (!Array.isArray(answer.choices) || !answer.choices.every(isFields)) {
    throw new HttpError(502, 'upstream', 'the upstream answered without choices');
  }
  const { passFields } = app.config;
  const { choices: offered, ...beside } = answer;
  /** Why something is withheld, or null. */
  const why = async (pieces: readonly Piece[], context: Message[]): Promise<completion.Reason | null> => {
    try {
      for (const text of completion.textsOf(pieces)) await judge.answered('response', context, asRead(text));
      return null;
    } catch (error) {
      return isBlocked(error) ? completion.reasonOf(error) : unavailable(error);
    }
  };

  const outside = await why(completion.piecesOf(beside, '', passFields), []);
  if (outside) {
    const choices = answer.choices.map((_, index) => completion.withheldChoice(index));
    return {
      ...completion.ownEnvelope('chat.completion', null),
      choices,
      rsafe: completion.note('response', 0, outside),
    };
  }
  let rsafe: object | undefined;
  const choices: Fields[] = [];
  for (const [index, choice] of answer.choices.entries()) {
    const told = completion.withPlainLogprobs(choice, completion.spokenIn(choice, 'message'));
    const reason = await why(completion.piecesOf({ ...told, logprobs: null }, '', passFields), messages);
    if (reason) rsafe ??= completion.note('response', index, reason);
    choices.push(reason ? completion.withheldChoice(index) : told);
  }
  return { ...answer, choices, ...(rsafe ? { rsafe } : {}) };
}
