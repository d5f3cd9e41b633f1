/** Judges one call of a model: what it is asked, and what it answers. */

import type { JSONObject, LanguageModelV4Prompt } from '@ai-sdk/provider';
import type { GuardMiddlewareOptions, Where } from '../ai-sdk.ts';
import type { Guard, Message, Target, Verdict } from '../types.ts';
import { asRead, isWordless } from '../walk/reading.ts';
import { runsOf } from '../walk/transcript.ts';
import { Blocked, Growing } from './growing.ts';
import { digestOf, type Passed } from './passed.ts';
import { type Part, readPart, type Turn, turnsOf } from './words.ts';

const GRAVITY = { allow: 0, review: 1, block: 2 };

export class Judge {
  readonly signal: AbortSignal;
  readonly #guard: Guard;
  readonly #options: GuardMiddlewareOptions;
  readonly #passed: Passed;
  readonly #turns: Turn[];
  #gravest: { where: Where; verdict: Verdict } | undefined;

  constructor(
    guard: Guard,
    options: GuardMiddlewareOptions,
    passed: Passed,
    { prompt, signal }: { prompt: LanguageModelV4Prompt; signal: AbortSignal },
  ) {
    this.signal = signal;
    this.#guard = guard;
    this.#options = options;
    this.#passed = passed;
    this.#turns = turnsOf(prompt, (part) => this.#skips(part));
  }

  /** The gravest verdict of the call, without the quotes and reasoning in it: they hold the very words that are
   * withheld. */
  get note(): { rsafe: JSONObject } | undefined {
    if (!this.#gravest) return undefined;
    const { where, verdict } = this.#gravest;
    const { decision, flagged, score, categories, rule, unreadable, failure } = verdict;
    const told = { where, decision, flagged, score, unreadable, rule, ...(failure !== undefined && { failure }) };
    return { rsafe: { ...told, categories: categories.map((category) => ({ ...category })) } };
  }

  /** What others than the app say, run by run; earlier answers too, which a caller can make up.
   * @throws Blocked */
  async prompt(): Promise<void> {
    for (const { role, unseen } of this.#turns)
      await this.#unseen('prompt', role === 'assistant' ? role : 'user', unseen);
    for (const { side, before, pieces, at } of runsOf(this.#turns)) {
      if (side === 'prompt') await this.#asked([...before, ...pieces]);
      else
        await this.#once(
          'prompt',
          [...messagesOf(this.#turns.slice(0, at)), { role: 'assistant', content: asRead(pieces) }],
          side,
        );
    }
  }

  /** A part of the answer that came whole.
   * @throws Blocked */
  async part(part: Part & { type: Where }): Promise<void> {
    if (this.#skips(part)) return;
    const { pieces, unseen } = readPart(part);
    await this.#unseen(part.type, 'assistant', unseen);
    const content = asRead(pieces);
    if (!isWordless(content))
      await this.#check(part.type, [...messagesOf(this.#turns), { role: 'assistant', content }], 'response');
  }

  /** A text of the answer that grows behind what was `heard` of it; it throws `Blocked`. */
  growing(where: 'text' | 'reasoning', heard: string): Growing {
    const { policy, policyLimits, strictness, checkEvery, holdBack, releaseOnReview } = this.#options;
    const rules = defined({ policy, policyLimits, strictness, checkEvery, holdBack, releaseOnReview });
    const onCheck = (_: number, verdict: Verdict) => this.#tell(where, verdict);
    const transform = this.#guard.transform({
      ...rules,
      messages: messagesOf(this.#turns),
      signal: this.signal,
      frames: 'text',
      onCheck,
    });
    return new Growing(transform, heard);
  }

  /** Notes an answer that was let through: it comes again in the next prompt. */
  async passed(parts: readonly Part[]): Promise<void> {
    if (this.#gravest?.verdict.flagged) return;
    const pieces = parts.filter((part) => !this.#skips(part)).flatMap((part) => readPart(part).pieces);
    const answer: Message = { role: 'assistant', content: asRead(pieces) };
    this.#passed.add(await this.#key([...messagesOf(this.#turns), answer], 'response'));
  }

  /** Pieces side by side. A rule that allows speaks for the piece in which it matched, not for those beside it. */
  async #asked(pieces: readonly string[]): Promise<void> {
    const verdict = await this.#once('prompt', [{ role: 'user', content: asRead(pieces) }], 'prompt');
    if (verdict && verdict.rule !== null && pieces.length > 1) for (const piece of pieces) await this.#asked([piece]);
  }

  /** A check, unless the same was let through before. */
  async #once(where: Where, messages: readonly Message[], target: Target): Promise<Verdict | undefined> {
    if (isWordless(String(messages.at(-1)?.content))) return undefined;
    const key = await this.#key(messages, target);
    if (this.#passed.has(key)) return undefined;
    const verdict = await this.#check(where, messages, target);
    if (!verdict.flagged && verdict.rule === null) this.#passed.add(key);
    return verdict;
  }

  async #check(where: Where, messages: readonly Message[], target: Target): Promise<Verdict> {
    const { policy, policyLimits, strictness, releaseOnReview = true } = this.#options;
    const rules = defined({ policy, policyLimits, strictness });
    const verdict = await this.#guard.check(messages, { ...rules, target, reasoning: 'never', signal: this.signal });
    this.#tell(where, verdict);
    const passes = verdict.decision === 'allow' || (verdict.decision === 'review' && releaseOnReview === true);
    if (!passes || verdict.failure !== undefined) throw new Blocked();
    return verdict;
  }

  /** The guard is asked about what is no text, too: it says what it cannot see into. */
  async #unseen(where: Where, role: 'user' | 'assistant', types: readonly string[]): Promise<void> {
    if (types.length === 0 || this.#options.files === 'pass') return;
    const content = types.map((type) => ({ type }));
    await this.#check(where, [{ role, content }], role === 'user' ? 'prompt' : 'response');
  }

  #skips(part: Part): boolean {
    return part.type === 'tool-call' && this.#options.toolCalls === 'pass';
  }

  #tell(where: Where, verdict: Verdict): void {
    const weight = ({ decision, score }: Verdict) => GRAVITY[decision] + score / 2;
    if (!this.#gravest || weight(verdict) >= weight(this.#gravest.verdict)) this.#gravest = { where, verdict };
    this.#options.onVerdict?.(verdict, where);
  }

  #key(messages: readonly Message[], target: Target): Promise<string | undefined> {
    return digestOf(this.#guard.policy, target, messages);
  }
}

const messagesOf = (turns: readonly Turn[]): Message[] =>
  turns.map(({ role, pieces }) => ({ role, content: asRead(pieces) }));

/** The fields that have a value: an option that is absent is the guard's to choose. */
function defined<T extends object>(fields: T): { [Field in keyof T]?: Exclude<T[Field], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
