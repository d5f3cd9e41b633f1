/** Verdicts in the shapes that other tools already read, the same as the command line's `--format`. */

import type { CategoryScore, Decision, Tier, Verdict } from './types.ts';

/** One result of OpenAI's moderation endpoint, and beside its fields ours. Keys are the ids of the scored categories; a
 * rule's or a failure's decision flags the result and no category. */
export interface ModerationResult {
  flagged: boolean;
  categories: Record<string, boolean>;
  category_scores: Record<string, number>;
  category_applied_input_types: Record<string, 'text'[]>;
  decision: Decision;
  tier: Tier;
  score: number;
  scored_categories: CategoryScore[];
  rule: string | null;
  failure?: string;
}

/** The body of OpenAI's moderation endpoint. */
export interface Moderation {
  id: string;
  model: string;
  results: ModerationResult[];
}

/** Verdicts as the body of OpenAI's moderation endpoint, a result for each. `model` is the guard's, `guard.info.model`. */
export function toOpenAI(
  verdicts: Verdict | readonly Verdict[],
  { id = 'modr-0', model = 'rsafe-mini' }: { id?: string; model?: string } = {},
): Moderation {
  return { id, model, results: [verdicts].flat().map(moderated) };
}

/** A verdict as Llama Guard's text: `safe`, or `unsafe` and on a second line the flagged categories' ids, if there are any. */
export function toLlamaGuard({ flagged, categories }: Verdict): string {
  if (!flagged) return 'safe';
  const ids = categories.filter((category) => category.flagged).map(({ id }) => id);
  return ids.length === 0 ? 'unsafe' : `unsafe\n${ids.join(',')}`;
}

function moderated({ flagged, categories, decision, tier, score, rule, failure }: Verdict): ModerationResult {
  const per = <T>(value: (category: CategoryScore) => T): Record<string, T> =>
    Object.fromEntries(categories.map((category) => [category.id, value(category)]));
  return {
    flagged,
    categories: per((category) => category.flagged),
    category_scores: per((category) => category.score),
    category_applied_input_types: per((category) => (category.flagged ? ['text'] : [])),
    decision,
    tier,
    score,
    scored_categories: categories,
    rule,
    ...(failure === undefined ? {} : { failure }),
  };
}
