/** Judges what goes up and what comes down. What does not pass is an error of code `blocked`. */

import { GuardError } from '../errors.ts';
import type { Watch } from '../held.ts';
import type { Guard, Message, Target, Verdict } from '../types.ts';
import { asRead, isWordless } from '../walk/reading.ts';
import type { Settings, Where } from './options.ts';

export class Judge {
  readonly #guard: Guard;
  readonly #settings: Settings;
  readonly #signal: AbortSignal;

  constructor(guard: Guard, settings: Settings, signal: AbortSignal) {
    this.#guard = guard;
    this.#settings = settings;
    this.#signal = signal;
  }

  /** Judges what a model is asked: what the user has said since the last answer, each message in the light of those
   * before it; what tools have said since, each for itself, as the text of a stranger; and an answer that the model
   * shall go on with.
   * @throws GuardError `blocked` */
  async prompt(messages: readonly Message[]): Promise<void> {
    const turns = messages.map(({ role, content }) => ({ role, content: String(content) }));
    // Where nobody else speaks, the application asks.
    const asks = turns.some(({ role }) => role === 'user') ? 'user' : 'system';
    const lastAsked = turns.map(({ role }) => role).lastIndexOf(asks);
    const since =
      turns
        .slice(0, Math.max(0, lastAsked))
        .map(({ role }) => role)
        .lastIndexOf('assistant') + 1;
    for (const [index, { role, content }] of turns.entries()) {
      const at = `message ${index}`;
      if (index < since) continue;
      const asked: Message[] = [...turns.slice(0, index), { role: 'user', content }];
      if (role === asks) await this.#check(content, asked, 'prompt', { what: 'user', at });
      const alone: Message[] = [{ role: 'user', content }];
      if (role === 'tool') await this.#check(content, alone, 'prompt', { what: 'tool_result', at });
    }
    const last = turns.at(-1);
    const at = `message ${turns.length - 1}`;
    if (last?.role === 'assistant') await this.#check(last.content, turns, 'response', { what: 'answer', at });
  }

  /** Judges a part of a whole answer, of which these are the pieces.
   * @throws GuardError `blocked` */
  async answer(messages: readonly Message[], pieces: readonly string[], at: string): Promise<void> {
    const content = asRead(pieces);
    await this.#check(content, [...messages, { role: 'assistant', content }], 'response', { what: 'answer', at });
  }

  /** Judges the call of a tool: its name, and its arguments as JSON.
   * @throws GuardError `blocked` */
  async call(messages: readonly Message[], text: string, at: string): Promise<void> {
    const content = unescaped(text);
    await this.#check(content, [...messages, { role: 'assistant', content }], 'response', { what: 'tool_call', at });
  }

  /** Watches over a streamed answer. */
  watch(messages: readonly Message[]): Watch {
    const { check, transform, releaseOnReview, onVerdict } = this.#settings;
    return {
      open: (at) =>
        this.#guard.transform({
          ...check,
          ...transform,
          messages,
          signal: this.#signal,
          releaseOnReview,
          frames: 'text',
          onCheck: (_, verdict) => onVerdict?.(verdict, { what: 'answer', at }),
        }),
      whole: (kind, at, text) => (kind === 'call' ? this.call(messages, text, at) : this.answer(messages, [text], at)),
      run: (work) => work(),
    };
  }

  async #check(text: string, messages: readonly Message[], target: Target, where: Where): Promise<void> {
    if (isWordless(text)) return;
    const { check, onVerdict } = this.#settings;
    const verdict = await this.#guard.check(messages, { ...check, target, signal: this.#signal });
    onVerdict?.(verdict, where);
    if (!this.#passes(verdict)) throw blocked(verdict, where);
  }

  #passes({ decision, failure }: Verdict): boolean {
    // A verdict with a failure is no statement about the text, whatever it counts as.
    return failure === undefined && (decision === 'allow' || (decision === 'review' && this.#settings.releaseOnReview));
  }
}

export const isBlocked = (error: unknown): boolean => error instanceof GuardError && error.code === 'blocked';

const WHAT = {
  user: 'what the user says',
  tool_result: 'the result of a tool',
  answer: 'the answer',
  tool_call: 'the call of a tool',
};

function blocked(verdict: Verdict, { what, at }: Where): GuardError {
  const { score, decision } = verdict;
  const told = `${WHAT[what]} (${at}) was flagged: score ${score.toFixed(3)}, decision ${decision}`;
  return new GuardError('blocked', told, { verdict });
}

/** A call's text with its JSON written plainly: letters may come as their numbers. */
function unescaped(text: string): string {
  const at = text.indexOf('{');
  try {
    return at < 0 ? text : text.slice(0, at) + JSON.stringify(JSON.parse(text.slice(at)));
  } catch {
    return text;
  }
}
