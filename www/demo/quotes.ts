/** The conversation as it was judged, with the words that the verdict rests on marked. */

import type { Message, Verdict } from '../src/index.ts';
import { make } from './dom.ts';

const SPEAKERS: Readonly<Record<string, string>> = { user: 'User', assistant: 'Assistant' };

/** A quote, and what stands behind its mark. */
interface Quote {
  message: number;
  start: number;
  end: number;
  told: string | null;
}

/** One bubble a message. The last one is on trial. */
export function bubbles(messages: readonly Message[], verdict?: Verdict): HTMLElement {
  const quotes = verdict ? quotesOf(verdict) : [];
  const thread = make('div', 'thread');
  messages.forEach(({ role, content }, index) => {
    const text = typeof content === 'string' ? content : '';
    const said = make(
      'p',
      'said',
      ...marked(
        text,
        quotes.filter((quote) => quote.message === index),
      ),
    );
    const speaker = make('span', 'speaker', SPEAKERS[role] ?? role);
    if (index === messages.length - 1 && messages.length > 1) speaker.append(make('span', 'aside', ' judged'));
    thread.append(make('div', `bubble ${role}`, speaker, said));
  });
  return thread;
}

/** What a quote speaks for, and where it was measured what the score were without it. */
function quotesOf({ evidence, categories }: Verdict): Quote[] {
  return evidence.map(({ category, effect, ...place }) => {
    const score = categories.find(({ id }) => id === category)?.score;
    const measured = score !== undefined && effect !== undefined;
    const told = measured ? `${category}: ${score.toFixed(2)} → ${effect.toFixed(2)} without it` : category;
    return { ...place, told };
  });
}

/** The text with each quoted stretch in a `mark`; where quotes overlap, the stretch carries what all of them tell. */
function marked(text: string, quotes: readonly Quote[]): Node[] {
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
    mark.title = [...new Set(covering.flatMap(({ told }) => told ?? []))].join('\n');
    return mark;
  });
}
