/** The golden conversations, and how two parts' verdicts on them are compared. Their expectations are never written
 * down: the model's weights change, the agreement of the parts does not. */

import assert from 'node:assert/strict';
import type { Message, Verdict } from '../../src/types.ts';
import golden from '../golden.json' with { type: 'json' };

export interface Golden {
  id: string;
  messages: Message[];
  /** A built-in policy's name or a policy file's text; absent: the model's own. */
  policy?: string;
}

export const conversations: Golden[] = golden.conversations.map(({ id, messages, policy }) => {
  const source = golden.policies[policy as keyof typeof golden.policies];
  return { id, messages: messages as Message[], ...(source === null ? {} : { policy: source }) };
});

/** The conversations by their policies, for what takes one policy a run. */
export function byPolicy(): Map<string | undefined, Golden[]> {
  const groups = new Map<string | undefined, Golden[]>();
  for (const conversation of conversations) {
    groups.set(conversation.policy, [...(groups.get(conversation.policy) ?? []), conversation]);
  }
  return groups;
}

/** A verdict without what may differ from run to run: time, and what a cache saved. */
export function substance(verdict: Verdict): unknown {
  const { promptTokens, answerTokens } = verdict.usage;
  return { ...verdict, usage: { promptTokens, answerTokens } };
}

/** Asserts that two parts judge alike: the same decision, tier and flags, scores within `tolerance`. */
export function agree(id: string, got: Verdict, wanted: Verdict, tolerance: number): void {
  const shape = ({ decision, tier, flagged, rule, categories }: Verdict) => ({
    decision,
    tier,
    flagged,
    rule,
    categories: categories.map((category) => [category.id, category.flagged]),
  });
  assert.deepEqual(shape(got), shape(wanted), `${id}: the decisions differ`);
  const near = (what: string, a: number, b: number) =>
    assert.ok(Math.abs(a - b) <= tolerance, `${id}: ${what} is ${a} here and ${b} there, more than ${tolerance} apart`);
  near('the score', got.score, wanted.score);
  got.categories.forEach((category, i) => near(category.id, category.score, wanted.categories[i]!.score));
}
