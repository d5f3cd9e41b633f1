/** What the owner of a guarded model may choose. */

import type { LanguageModelV4Content } from '@ai-sdk/provider';
import type { Rhythm } from '../held/judge.ts';
import type { TransformOptions, Verdict } from '../types.ts';

/** What a verdict is about: the prompt, or a kind of part of the answer. */
export type Where = 'prompt' | LanguageModelV4Content['type'];

type Rules = Pick<TransformOptions, 'policy' | 'policyLimits' | 'strictness' | Rhythm | 'releaseOnReview'>;

export interface GuardMiddlewareOptions extends Rules {
  /** What is said in the place of what is blocked. Default: nothing. */
  refusal?: string;
  /** Whether a tool's name and arguments are judged before a call is let through, and what a tool gave under the built-in
   * policy `agents` beside your own, `review` being no pass (default); or calls pass, and what a tool gave is judged as
   * what users say. */
  toolCalls?: 'judge' | 'pass';
  /** What becomes of parts that are no text, files above all, of prompts and of answers: the call fails with
   * `bad_input` (default), or they pass. */
  files?: 'refuse' | 'pass';
  /** Called with every verdict, also those on which nothing is withheld. It has the quotes that metadata leave out. */
  onVerdict?: (verdict: Verdict, where: Where) => void;
}
