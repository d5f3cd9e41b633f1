/** The conversation as it was judged, with the words that the verdict rests on marked. */

import type { Evidence, Message } from '../src/index.ts';
import { make } from './dom.ts';

const SPEAKERS: Readonly<Record<string, string>> = { user: 'User', assistant: 'Assistant' };

/** One bubble a message. The last one is on trial. */
export function bubbles(messages: readonly Message[], evidence: readonly Evidence[]): HTMLElement {
  const thread = make('div', 'thread');
  messages.forEach(({ role, content }, index) => {
    const text = typeof content === 'string' ? content : '';
    const said = make(
      'p',
      'said',
      ...marked(
        text,
        evidence.filter((quote) => quote.message === index),
      ),
    );
    const speaker = make('span', 'speaker', SPEAKERS[role] ?? role);
    if (index === messages.length - 1 && messages.length > 1) speaker.append(make('span', 'aside', ' judged'));
    thread.append(make('div', `bubble ${role}`, speaker, said));
  });
  return thread;
}

/** The text with each quoted stretch in a `mark`; where quotes overlap, the stretch carries all of their categories. */
function marked(text: string, quotes: readonly Evidence[]): Node[] {
  const inside = quotes.filter(({ start, end }) => start >= 0 && start < end && end <= text.length);
  const edges = [...new Set([0, text.length, ...inside.flatMap(({ start, end }) => [start, end])])].sort(
    (a, b) => a - b,
  );
  return edges.slice(1).map((to, i) => {
    const from = edges[i] ?? 0;
    const piece = document.createTextNode(text.slice(from, to));
    const covering = inside.filter(({ start, end }) => start <= from && to <= end);
    if (covering.length === 0) return piece;
    const mark = make('mark', '', piece);
    const categories = [...new Set(covering.flatMap(({ category }) => category ?? []))];
    if (categories.length > 0) mark.title = categories.join(', ');
    return mark;
  });
}
