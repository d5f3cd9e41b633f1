/** What a guarded `fetch` is told, read once. */

import { Sight } from '../api/shape.ts';
import { GuardError } from '../errors.ts';
import type { Rhythm } from '../held/judge.ts';
import { checked, defined, isFlag, isFunction, type Names, optionsOf, shown } from '../plain.ts';
import type { CheckOptions, TransformOptions, Verdict } from '../types.ts';

/** What a verdict is about. */
export interface Where {
  what: 'user' | 'tool_result' | 'answer' | 'tool_call';
  /** The place in the request or answer, e.g. `message 2`, `delta.content`. */
  at: string;
}

/** How a guarded `fetch` judges. */
export interface GuardFetchOptions
  extends Pick<CheckOptions, 'policy' | 'policyLimits' | 'strictness'>,
    Pick<TransformOptions, Rhythm> {
  /** What asks the model's API. Default: the global `fetch`. */
  fetch?: typeof fetch;
  /** What the caller gets where something is blocked: an answer of the API's own shape that refuses (`finish_reason:
   * 'content_filter'` and its like), or a `GuardError` of code `blocked`, which clients wrap in errors of their own,
   * and may try again after. Default `'refuse'`. */
  onBlocked?: 'refuse' | 'throw';
  /** Whether the calls of tools in an answer are judged, name and arguments as one text, before they come out, and what tools
   * gave, before it goes up, under the built-in policy `agents` beside your own: it may give orders. `'pass'` leaves calls
   * unjudged, and judges what tools gave by your policy alone. Default `'judge'`. */
  toolCalls?: 'judge' | 'pass';
  /** What becomes of what nobody here can judge: requests to chat APIs of other shapes, pictures, sounds, files.
   * Default `'refuse'`: a `GuardError` of code `bad_input`, before anything is sent. */
  unknown?: 'refuse' | 'pass';
  /** Whether text on which the decision is `review` is let through, but for what tools gave. Default false, since nobody is
   * there to review. */
  releaseOnReview?: boolean;
  /** Called after each check. */
  onVerdict?: (verdict: Verdict, where: Where) => void;
}

/** The options, with their defaults. */
export interface Settings {
  fetch: typeof fetch;
  check: Pick<CheckOptions, 'policy' | 'policyLimits' | 'strictness'>;
  transform: Pick<TransformOptions, Rhythm>;
  throws: boolean;
  refuses: boolean;
  releaseOnReview: boolean;
  toolCalls: 'judge' | 'pass';
  onVerdict: GuardFetchOptions['onVerdict'];
  sight: Sight;
}

const NAMES: Names<GuardFetchOptions> = {
  fetch: true,
  policy: true,
  policyLimits: true,
  strictness: true,
  checkEvery: true,
  holdBack: true,
  pace: true,
  maxWait: true,
  onBlocked: true,
  toolCalls: true,
  unknown: true,
  releaseOnReview: true,
  onVerdict: true,
};

export function readOptions(given: GuardFetchOptions): Settings {
  const options = optionsOf(given, NAMES);
  const { policy, policyLimits, strictness, checkEvery, holdBack, pace, maxWait } = options;
  const own = checked('fetch', options.fetch, 'a function', isFunction);
  const unknown = oneOf('unknown', options.unknown, ['refuse', 'pass']);
  const toolCalls = oneOf('toolCalls', options.toolCalls, ['judge', 'pass']);
  return {
    // Looked up at each call: tests and instruments replace it.
    fetch: own ?? ((input, init) => globalThis.fetch(input, init)),
    check: defined({ policy, policyLimits, strictness }),
    transform: defined({ checkEvery, holdBack, pace, maxWait }),
    throws: oneOf('onBlocked', options.onBlocked, ['refuse', 'throw']) === 'throw',
    refuses: unknown === 'refuse',
    releaseOnReview: checked('releaseOnReview', options.releaseOnReview, 'true or false', isFlag) ?? false,
    toolCalls,
    onVerdict: checked('onVerdict', options.onVerdict, 'a function', isFunction),
    sight: new Sight({
      blind: unknown === 'pass',
      calls: toolCalls === 'judge',
      mend: "leave it out, or set unknown: 'pass'",
    }),
  };
}

/** One of the words; the first where none is given. */
function oneOf<T extends string>(option: string, value: T | undefined, words: readonly [T, ...T[]]): T {
  const word = value === undefined ? words[0] : words.find((word) => word === value);
  if (word !== undefined) return word;
  throw new GuardError('bad_input', `${option}: expected ${words.join(' or ')} but got ${shown(value)}`);
}
