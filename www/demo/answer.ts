/** The answer as a visitor sees it while it grows: what was let through as words, what is held back as bars. Words that
 * are held back are never in the page, not even for a moment. */

import type { CategoryScore, Verdict } from '../src/index.ts';
import { byId, facts, icon, make } from './dom.ts';

/** Categories that are named as a reason. */
const NAMED = 2;
/** Letters of the longest bar, which a phone has room for. */
const LONGEST_BAR = 24;

const log = byId('live-log');
const outcome = byId('live-outcome');

let shown = document.createTextNode('');
let held = make('span', '');

/** An empty answer to `question`, if there is one. */
export function beginAnswer(question: string | undefined): void {
  shown = document.createTextNode('');
  held = make('span', '');
  const said = (role: 'user' | 'assistant', speaker: string, ...words: Node[]) =>
    make('div', `bubble ${role}`, make('span', 'speaker', speaker), make('p', 'said', ...words));
  log.replaceChildren(
    ...(question === undefined ? [] : [said('user', 'User', document.createTextNode(question))]),
    said('assistant', 'Assistant', shown, held),
  );
  outcome.replaceChildren(make('p', 'note', 'Waiting for the model …'));
}

/** The model is there, and the answer comes. */
export function showComing(): void {
  outcome.replaceChildren();
}

/** Shows the words that were let through, and a bar for each of the others. */
export function showAnswer(text: string, heldBack: string): void {
  shown.data = text;
  const bars = (heldBack.match(/\S+/g) ?? []).map((word) => {
    const bar = make('span', 'bar');
    bar.style.setProperty('--letters', String(Math.min(word.length, LONGEST_BAR)));
    bar.setAttribute('aria-hidden', 'true');
    return bar;
  });
  held.replaceChildren(
    ...bars.flatMap((bar) => [bar, ' ']),
    ...(bars.length > 0 ? [make('span', 'held-marker', `${heldBack.length} held back`)] : []),
  );
}

export function showCounts(arrived: number, released: number, checks: number): void {
  facts(byId('live-counts'), [
    ['Came', String(arrived)],
    ['Shown', String(released)],
    ['Held back', String(arrived - released)],
    ['Checks', String(checks)],
  ]);
}

/** The guard let all of it through. */
export function showWhole(verdicts: readonly Verdict[]): void {
  const highest = Math.max(...verdicts.map(({ score }) => score));
  const [reviewed] = verdicts.filter(({ flagged }) => flagged).sort((a, b) => b.score - a.score);
  const checks = `${verdicts.length} ${verdicts.length === 1 ? 'check' : 'checks'}, the highest score ${highest.toFixed(2)}.`;
  if (!reviewed) end('allow', 'Shown whole', checks);
  else end('review', 'Shown, for review', `${reasonOf(reviewed)}. ${checks}`);
}

/** The guard blocked it; the bars give way to a mark. */
export function showCut(verdict: Verdict | undefined, arrived: number, heldBack: number): void {
  held.replaceChildren(make('span', 'cut-marker', `cut: ${heldBack} characters held back`));
  const why = verdict ? reasonOf(verdict) : 'no verdict';
  const text = `After ${arrived} characters: ${why}. ${heldBack} characters were held back and never shown.`;
  end('block', 'Cut', text);
}

/** It ended for another reason than a verdict; what is held back stays so. */
export function showUnfinished(text: string, heldBack: number): void {
  const rest = heldBack > 0 ? ` ${heldBack} characters were held back and never shown.` : '';
  held.replaceChildren();
  end('waiting', 'Not finished', text + rest);
}

function end(kind: 'allow' | 'review' | 'block' | 'waiting', word: string, text: string): void {
  const badge = make('span', `badge ${kind}`, ...(kind === 'waiting' ? [] : [icon(kind)]), word);
  outcome.replaceChildren(badge, make('p', 'note', text));
}

/** The rule that decided, or the categories that apply, the one furthest beyond its threshold first. */
function reasonOf({ rule, failure, categories }: Verdict): string {
  if (rule) return `the policy’s rule “${rule}”`;
  const applying = categories
    .filter(({ flagged }) => flagged)
    .sort((a, b) => b.score - b.threshold - (a.score - a.threshold));
  const named = applying.slice(0, NAMED).map(withScore);
  const more = applying.length > NAMED ? [`${applying.length - NAMED} more`] : [];
  return [...named, ...more].join(', ') || (failure ?? 'no category');
}

function withScore({ name, id, score, threshold }: CategoryScore): string {
  return `${name || id} (${score.toFixed(2)}, applies from ${threshold.toFixed(2)})`;
}
