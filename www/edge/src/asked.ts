/** What a request says, judged before it goes up, and the upstream that is then asked. */

import { isBlocked } from 'rsafe/held';
import { type Piece, runsOf, sideBySide, type Spoken } from 'rsafe/walk';
import type { Guard, Message } from 'rsafe/workerd';

import type { App } from './app.ts';
import type { Fields } from './http.ts';
import { type ChatJudge, judgeRuns } from './judge.ts';
import { piecesOf } from './messages.ts';
import { ask, type Upstream } from './upstream.ts';

export interface Asked {
  /** The conversation as a model reads it, and all that is said in each of its messages. */
  messages: readonly Message[];
  spoken: readonly Spoken[];
  /** The fields of the request that stand beside it. */
  beside: Fields;
}

/** The error of what is blocked in a request, or null. */
export async function blockedIn(app: App, guard: Guard, { messages, spoken, beside }: Asked): Promise<unknown> {
  const judge = app.judge(guard, app.request.signal);
  const fields = byField(piecesOf(beside, '', app.config.passFields));
  try {
    await judge.asked('prompt', [lastOfUser(messages)]);
    await judgeRuns(judge, app.passed, runsOf(spoken), messages);
    for (const pieces of fields) await judge.asked('prompt', pieces);
    return null;
  } catch (error) {
    if (isBlocked(error)) return error;
    throw error;
  }
}

export interface Answered {
  /** Judges what comes down, until nobody reads it. */
  judge: ChatJudge;
  gone: AbortController;
  upstream: Upstream;
  /** The next bytes of a stream. */
  next: Upstream['next'];
}

/** Sends a request that passed. Of a stream, the first bytes are waited for: until then, an error still has a status of
 * its own. */
export async function send(app: App, guard: Guard, path: string, body: Fields): Promise<Answered> {
  await app.enter('relaying');
  const gone = new AbortController();
  const signal = AbortSignal.any([gone.signal, app.request.signal]);
  const judge = app.judge(guard, signal);
  const upstream = await ask(app, path, body, signal, judge);
  if (!upstream.streams) return { judge, gone, upstream, next: upstream.next };
  const opening = await upstream.next();
  let begun = false;
  const next = () => (begun ? upstream.next() : ((begun = true), Promise.resolve(opening)));
  return { judge, gone, upstream, next };
}

/** What a rule of the policy is written for, as it stands. */
function lastOfUser(messages: readonly Message[]): string {
  return String(messages.findLast(({ role }) => role === 'user')?.content ?? '');
}

/** Pieces by their outermost field. Fields that nobody knows count as one. */
function byField(pieces: readonly Piece[]): string[][] {
  const outermost = (place: string) => /^[^.[{]*/.exec(place)?.[0] ?? '';
  const fields = new Map<string, Piece[]>();
  for (const piece of pieces) {
    const field = outermost(piece.place);
    fields.set(field, [...(fields.get(field) ?? []), piece]);
  }
  return [...fields.values()].map(sideBySide);
}
