/** The verdict: reasoning as it comes, then tier and decision, scores, quotes in the text, and figures. */

import type { CategoryScore, Decision, Message, Tier, Verdict } from '../src/index.ts';
import { byId, facts, icon, make, milliseconds } from './dom.ts';
import { bubbles, effects } from './quotes.ts';

const room = byId('verdict');
const body = byId('verdict-body');
/** What each tier is called, the decision behind it, and what both mean. */
const TIERS: Readonly<Record<Tier, readonly [word: string, decision: Decision, means: string]>> = {
  clear: ['Clear', 'allow', 'Allowed. Nothing in the policy applies.'],
  care: ['Care', 'allow', 'Allowed. It came near, or not all of it could be read.'],
  attention: ['Attention', 'review', 'For review. Something applies, a person should look.'],
  block: ['Block', 'block', 'Blocked. Something applies that the policy forbids.'],
};
/** Categories that are shown at once. */
const SHOWN = 6;

let reasoning: HTMLElement | undefined;

/** What a visitor sees before the first check. */
export function showNothingYet(): void {
  const legend = make('ul', 'legend');
  for (const tier of Object.keys(TIERS) as Tier[]) {
    legend.append(make('li', '', badge(tier), make('span', '', TIERS[tier][2])));
  }
  body.replaceChildren(
    make(
      'p',
      'note',
      'Tap a sample, or type a message and check it. You will see one of these, with a score for each category, the words it rests on and what they did to it, and the reasoning.',
    ),
    legend,
  );
}

export function showRunning(messages: readonly Message[]): void {
  room.setAttribute('aria-busy', 'true');
  reasoning = make('p', 'reasoning writing');
  body.replaceChildren(
    make('div', 'decision', make('span', 'badge waiting', 'Waiting for the model …')),
    bubbles(messages),
    make('h3', '', 'Reasoning'),
    reasoning,
  );
  announce('Checking.');
  bringIntoView();
}

/** The model has begun. */
export function showReading(): void {
  body.querySelector('.badge.waiting')?.replaceChildren('Reading …');
}

export function showReasoning(text: string): void {
  reasoning?.append(text);
}

export function showStopped(text: string): void {
  room.setAttribute('aria-busy', 'false');
  reasoning?.classList.remove('writing');
  const written = reasoning?.textContent ? [make('h3', '', 'Reasoning so far'), reasoning] : [];
  body.replaceChildren(
    make('div', 'decision', make('span', 'badge waiting', 'No verdict')),
    make('p', 'note', text),
    ...written,
  );
  announce(text);
}

export function showVerdict(verdict: Verdict, messages: readonly Message[]): void {
  room.setAttribute('aria-busy', 'false');
  const [word, , means] = TIERS[verdict.tier];
  const parts: HTMLElement[] = [
    make(
      'div',
      'decision',
      badge(verdict.tier),
      make('p', 'score', make('strong', '', verdict.score.toFixed(2)), ' risk, from 0 to 1'),
    ),
    make('p', 'note', because(verdict, means)),
    bubbles(messages, verdict),
  ];
  if (verdict.evidence.length > 0) parts.push(make('h3', '', 'Evidence'), effects(verdict));
  if (verdict.reasoning) parts.push(make('h3', '', 'Reasoning'), make('p', 'reasoning', verdict.reasoning));
  if (verdict.categories.length > 0) parts.push(make('h3', '', 'Categories'), bars(verdict.categories));
  parts.push(make('h3', '', 'Figures'), figures(verdict));
  body.replaceChildren(...parts);
  reasoning = undefined;
  const applying = verdict.categories.filter((category) => category.flagged).map((category) => category.name);
  announce(
    `${word}. Score ${verdict.score.toFixed(2)}. ${applying.length > 0 ? `Applies: ${applying.join(', ')}.` : 'No category applies.'}`,
  );
}

function because(verdict: Verdict, means: string): string {
  if (verdict.failure) return `It could not be judged: ${verdict.failure}`;
  return verdict.rule ? `The policy’s rule “${verdict.rule}” decided, before the model.` : means;
}

function badge(tier: Tier): HTMLElement {
  const [word, decision] = TIERS[tier];
  return make('span', `badge ${decision} ${tier}`, icon(decision), word);
}

/** A row for each category, the likeliest first, its threshold marked on the bar. Those far down are folded away. */
function bars(categories: readonly CategoryScore[]): HTMLElement {
  const sorted = [...categories].sort((a, b) => b.score - a.score);
  const shown = Math.max(SHOWN, sorted.findLastIndex((category) => category.flagged) + 1);
  const rest = sorted.slice(shown);
  const parts: HTMLElement[] = [rows(sorted.slice(0, shown))];
  const most = rest[0];
  if (most)
    parts.push(
      make('details', '', make('summary', '', `${rest.length} more, none above ${most.score.toFixed(2)}`), rows(rest)),
    );
  return make(
    'div',
    '',
    ...parts,
    make('p', 'note small-note', 'The tick on a bar is the score from which the category applies.'),
  );
}

function rows(categories: readonly CategoryScore[]): HTMLElement {
  const list = make('ul', 'bars');
  for (const { name, id, score, threshold, flagged } of categories) {
    const track = make('span', 'track', make('span', 'fill'), make('span', 'threshold'));
    track.setAttribute('aria-hidden', 'true');
    track.style.setProperty('--score', String(score));
    track.style.setProperty('--threshold', String(threshold));
    const figure = make('span', 'figure', make('strong', '', score.toFixed(2)), ` of ${threshold.toFixed(2)}`);
    const title = make('span', 'name', name || id);
    if (flagged) title.append(make('span', 'applies', 'applies'));
    list.append(make('li', flagged ? 'flagged' : '', title, figure, track));
  }
  return list;
}

function figures({ usage }: Verdict): HTMLElement {
  const list = make('dl', 'facts figures');
  facts(list, [
    ['Prompt', `${usage.promptTokens} tokens`],
    ['From cache', `${usage.cachedTokens} tokens`],
    ['Written', `${usage.answerTokens} tokens`],
    ['First token', usage.firstTokenMs > 0 ? milliseconds(usage.firstTokenMs) : 'no reasoning'],
    ['Verdict', milliseconds(usage.verdictMs)],
  ]);
  return list;
}

/** Says it to those who listen; the card itself is too much to be read out at each change. */
function announce(text: string): void {
  byId('announcement').textContent = text;
}

/** On a phone the card lies below the fold. */
function bringIntoView(): void {
  const { top, bottom } = room.getBoundingClientRect();
  if (top > innerHeight * 0.7 || bottom < innerHeight * 0.3) {
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    room.scrollIntoView({ behavior: calm ? 'auto' : 'smooth', block: 'start' });
  }
}
