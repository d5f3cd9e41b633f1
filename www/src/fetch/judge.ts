/** What of a request is judged, and how errors call what was. */

import { Judge } from '../held/judge.ts';
import type { Guard, Message, Verdict } from '../types.ts';
import { isWordless } from '../walk/reading.ts';
import type { Settings, Where } from './options.ts';

export function judgeBy(guard: Guard, settings: Settings, signal: AbortSignal): Judge<Where> {
  const { check, transform, releaseOnReview, toolCalls, onVerdict } = settings;
  const message = ({ score, decision }: Verdict, { what, at }: Where) =>
    `${WHAT[what]} (${at}) was flagged: score ${score.toFixed(3)}, decision ${decision}`;
  const rules = { check, transform: { ...check, ...transform }, releaseOnReview, toolCalls };
  return new Judge({ guard, signal, ...rules, onVerdict, message });
}

const WHAT = {
  user: 'what the user says',
  tool_result: 'the result of a tool',
  answer: 'the answer',
  tool_call: 'the call of a tool',
};

/** Judges what a model is asked: what the user has said since the last answer, each message in the light of those
 * before it; what tools have said since, each for itself, as the text of a stranger; and an answer that the model
 * shall go on with.
 * @throws Blocked */
export async function judgePrompt(judge: Judge<Where>, messages: readonly Message[]): Promise<void> {
  const turns = messages.map(({ role, content }) => ({ role, content: String(content) }));
  // Where nobody else speaks, the application asks.
  const asks = turns.some(({ role }) => role === 'user') ? 'user' : 'system';
  const lastAsked = Math.max(
    0,
    turns.findLastIndex(({ role }) => role === asks),
  );
  const since = turns.slice(0, lastAsked).findLastIndex(({ role }) => role === 'assistant') + 1;
  for (const [index, { role, content }] of turns.entries()) {
    const at = `message ${index}`;
    if (index < since || isWordless(content)) continue;
    const asked: Message[] = [...turns.slice(0, index), { role: 'user', content }];
    if (role === asks) await judge.check({ what: 'user', at }, asked, 'prompt');
    if (role === 'tool') await judge.gave({ what: 'tool_result', at }, [content]);
  }
  const last = turns.at(-1);
  const at = `message ${turns.length - 1}`;
  if (last?.role === 'assistant') await judge.answered({ what: 'answer', at }, turns.slice(0, -1), last.content);
}

/** What a text of the answer is. */
export const whereIn = (at: string, kind?: string): Where => ({ what: kind === 'call' ? 'tool_call' : 'answer', at });
