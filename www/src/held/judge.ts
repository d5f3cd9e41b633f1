/** Judges the texts of one exchange with a model, and remembers those that passed. What does not pass is an error of
 * code `blocked`, as a stream's. */

import type { CheckOptions, Guard, Message, Target, TransformOptions, Verdict } from '../types.ts';
import { asRead, isWordless } from '../walk/reading.ts';
import { digestOf, type Passed } from './passed.ts';
import type { Kind, Watch } from './text.ts';

/** The options of a stream that say when it is checked and released. */
export type Rhythm = 'checkEvery' | 'holdBack' | 'pace' | 'maxWait';

/** By what an exchange is judged. `Where` says what a text is. */
export interface Judging<Where> {
  guard: Guard;
  signal: AbortSignal;
  check?: Pick<CheckOptions, 'policy' | 'policyLimits' | 'strictness' | 'reasoning'>;
  transform?: Pick<TransformOptions, 'policy' | 'policyLimits' | 'strictness' | Rhythm>;
  /** Whether text on which the decision is `review` passes. */
  releaseOnReview: boolean;
  /** Whether what tools give is judged as anybody's words, by the owner's policy alone. Default `'judge'`: it is not. */
  toolCalls?: 'judge' | 'pass' | undefined;
  passed?: Passed;
  onVerdict?: ((verdict: Verdict, where: Where) => void) | undefined;
  /** What the error about a text says. */
  message?: (verdict: Verdict, where: Where) => string;
  /** Does a piece of the guard's work, in its turn and time. */
  run?: <T>(work: (signal: AbortSignal) => Promise<T>) => Promise<T>;
}

/** The built-in policy about attacks on assistants. Most of what tools give is data, which looks odd to a small model, so
 * only what is plain counts: of 30 harmless results none is refused then, of 8 attacks 5 are; at a half 9 and 8. */
const ATTACKS = { policy: 'agents', strictness: 0.2 };

export class Judge<Where> {
  readonly #by: Judging<Where>;
  readonly #run: NonNullable<Judging<Where>['run']>;

  constructor(by: Judging<Where>) {
    this.#by = by;
    this.#run = by.run ?? ((work) => work(by.signal));
  }

  /** Judges what a caller says, whose pieces stand side by side.
   * @throws Blocked */
  async asked(where: Where, pieces: readonly string[]): Promise<void> {
    await this.#once(where, asking(pieces), 'prompt', pieces);
  }

  /** Judges what a tool gave, a stranger's text that may give orders: by the owner's policy and, whatever that asks, as an
   * attack. What is for review passes neither.
   * @throws Blocked */
  async gave(where: Where, pieces: readonly string[]): Promise<void> {
    if (this.#by.toolCalls === 'pass') return this.asked(where, pieces);
    for (const attacks of [{}, ATTACKS]) {
      const check = { ...this.#by.check, ...attacks };
      await new Judge({ ...this.#by, check, releaseOnReview: false }).asked(where, pieces);
    }
  }

  /** Judges what answers `messages`, whole.
   * @throws Blocked */
  async answered(where: Where, messages: readonly Message[], content: string): Promise<void> {
    await this.#once(where, [...messages, { role: 'assistant', content }], 'response');
  }

  /** Judges the last of the messages, whether it passed before or not.
   * @throws Blocked */
  async check(where: Where, messages: readonly Message[], target: Target): Promise<Verdict> {
    const { guard, check, releaseOnReview, onVerdict, message } = this.#by;
    const verdict = await this.#run((signal) => guard.check(messages, { ...check, target, signal }));
    onVerdict?.(verdict, where);
    const { decision, failure } = verdict;
    // A verdict with a failure is no statement about the text, whatever it counts as.
    if (failure === undefined && (decision === 'allow' || (decision === 'review' && releaseOnReview))) return verdict;
    throw blocked(message?.(verdict, where), verdict);
  }

  /** Watches over an answer to `messages` that comes in pieces. */
  watch(messages: readonly Message[], where: (place: string, kind?: Kind) => Where): Watch {
    const { guard, signal, transform, releaseOnReview, onVerdict } = this.#by;
    return {
      open: (place) =>
        guard.transform({
          ...transform,
          messages,
          signal,
          releaseOnReview,
          frames: 'text',
          onCheck: (_, verdict) => onVerdict?.(verdict, where(place)),
        }),
      whole: (kind, place, text) => this.answered(where(place, kind), messages, text),
      run: this.#run,
    };
  }

  /** Notes an answer that was judged piece by piece. */
  async remember(messages: readonly Message[], content: string): Promise<void> {
    this.#by.passed?.add(await this.keyOf([...messages, { role: 'assistant', content }], 'response'));
  }

  /** What the last of these messages is remembered by. */
  keyOf(messages: readonly Message[], target: Target): Promise<string | undefined> {
    const { guard, check } = this.#by;
    return digestOf(guard.info.model, check?.policy ?? guard.policy, target, messages);
  }

  async #once(where: Where, messages: readonly Message[], target: Target, pieces: readonly string[] = []) {
    const { passed } = this.#by;
    if (isWordless(String(messages.at(-1)?.content))) return;
    const key = passed && (await this.keyOf(messages, target));
    if (passed?.has(key)) return;
    const { flagged, rule } = await this.check(where, messages, target);
    // A rule that allows speaks for the piece in which it matched, not for those beside it.
    if (rule !== null && pieces.length > 1) for (const piece of pieces) await this.asked(where, [piece]);
    if (!flagged) passed?.add(key);
  }
}

/** What a caller says, as a conversation. */
export const asking = (pieces: readonly string[]): Message[] => [{ role: 'user', content: asRead(pieces) }];

/** That something is not let through. */
const blocked = (message: string | undefined, verdict: Verdict): Error =>
  Object.assign(new Error(message), { code: 'blocked', verdict });

/** Whether it is one of ours, or the guard's own of that code. */
export const isBlocked = (error: unknown): error is Error & { verdict?: Verdict } =>
  (error as { code?: unknown } | null)?.code === 'blocked';
