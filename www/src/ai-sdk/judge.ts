/** Judges one call of a model: what it is asked, and what it answers. */

import type { JSONObject, LanguageModelV4Prompt } from '@ai-sdk/provider';
import { Growing } from '../held/growing.ts';
import { Judge as TextJudge } from '../held/judge.ts';
import type { Passed } from '../held/passed.ts';
import { defined } from '../plain.ts';
import type { Guard, Message, Verdict } from '../types.ts';
import { asRead } from '../walk/reading.ts';
import { runsOf } from '../walk/transcript.ts';
import type { GuardMiddlewareOptions, Where } from './options.ts';
import { type Part, readPart, type Turn, turnsOf } from './words.ts';

const GRAVITY = { allow: 0, review: 1, block: 2 };

export class Judge {
  readonly signal: AbortSignal;
  readonly #texts: TextJudge<Where>;
  readonly #options: GuardMiddlewareOptions;
  readonly #turns: Turn[];
  #gravest: { where: Where; verdict: Verdict } | undefined;

  constructor(
    guard: Guard,
    options: GuardMiddlewareOptions,
    passed: Passed,
    { prompt, signal }: { prompt: LanguageModelV4Prompt; signal: AbortSignal },
  ) {
    const { refusal, toolCalls, files, onVerdict, releaseOnReview = true, ...transform } = options;
    const { policy, policyLimits, strictness } = options;
    this.signal = signal;
    this.#texts = new TextJudge({
      guard,
      signal,
      check: defined({ policy, policyLimits, strictness, reasoning: 'never' as const }),
      transform,
      releaseOnReview,
      toolCalls,
      passed,
      onVerdict: (verdict, where) => this.#tell(where, verdict),
    });
    this.#options = options;
    this.#turns = turnsOf(prompt, (part) => this.skips(part));
  }

  /** The gravest verdict of the call, without the quotes and reasoning in it: they hold the very words that are
   * withheld. */
  get note(): { rsafe: JSONObject } | undefined {
    if (!this.#gravest) return undefined;
    const { where, verdict } = this.#gravest;
    const { decision, tier, flagged, score, categories, rule, unreadable, failure } = verdict;
    const told = { where, decision, tier, flagged, score, unreadable, rule, ...defined({ failure }) };
    return { rsafe: { ...told, categories: categories.map((category) => ({ ...category })) } };
  }

  /** What others than the app say, run by run; earlier answers too, which a caller can make up.
   * @throws Blocked */
  async prompt(): Promise<void> {
    for (const { role, unseen } of this.#turns)
      await this.#unseen('prompt', role === 'assistant' ? role : 'user', unseen);
    for (const { side, before, pieces, at } of runsOf(this.#turns)) {
      if (side === 'prompt') await this.#texts.asked('prompt', [...before, ...pieces]);
      else if (side === 'tool') await this.#texts.gave('prompt', pieces);
      else await this.#texts.answered('prompt', messagesOf(this.#turns.slice(0, at)), asRead(pieces));
    }
  }

  /** A part of the answer that came whole.
   * @throws Blocked */
  async part(part: Part & { type: Where }): Promise<void> {
    if (this.skips(part)) return;
    const { pieces, unseen } = readPart(part);
    await this.#unseen(part.type, 'assistant', unseen);
    await this.#texts.answered(part.type, messagesOf(this.#turns), asRead(pieces));
    if (part.type === 'tool-result') await this.#texts.gave(part.type, pieces);
  }

  /** A text of the answer that grows behind what was `heard` of it. */
  growing(kind: 'text' | 'reasoning', heard: string): Growing {
    return new Growing(
      this.#texts.watch(messagesOf(this.#turns), () => kind),
      kind,
      heard,
    );
  }

  /** Notes an answer that was let through: it comes again in the next prompt. */
  async passed(parts: readonly Part[]): Promise<void> {
    if (this.#gravest?.verdict.flagged) return;
    const pieces = parts.filter((part) => !this.skips(part)).flatMap((part) => readPart(part).pieces);
    await this.#texts.remember(messagesOf(this.#turns), asRead(pieces));
  }

  /** The guard is asked about what is no text, too: it says what it cannot see into. */
  async #unseen(where: Where, role: 'user' | 'assistant', types: readonly string[]): Promise<void> {
    if (types.length === 0 || this.#options.files === 'pass') return;
    const content = types.map((type) => ({ type }));
    await this.#texts.check(where, [{ role, content }], role === 'user' ? 'prompt' : 'response');
  }

  /** Whether it is the call of a tool, or a piece of one, and calls pass. */
  skips({ type }: { type: string }): boolean {
    return /^tool-(call|input)/.test(type) && this.#options.toolCalls === 'pass';
  }

  #tell(where: Where, verdict: Verdict): void {
    const weight = ({ decision, score }: Verdict) => GRAVITY[decision] + score / 2;
    if (!this.#gravest || weight(verdict) >= weight(this.#gravest.verdict)) this.#gravest = { where, verdict };
    this.#options.onVerdict?.(verdict, where);
  }
}

const messagesOf = (turns: readonly Turn[]): Message[] =>
  turns.map(({ role, pieces }) => ({ role, content: asRead(pieces) }));
