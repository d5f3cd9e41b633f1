/** The words that the verdict rests on: marked in the conversation as it was judged, and listed with what they did to the score. */

import type { Evidence, Message, Verdict } from '../src/index.ts';
import { make } from './dom.ts';

const SPEAKERS: Readonly<Record<string, string>> = { user: 'User', assistant: 'Assistant' };

/** One bubble a message. The last one is on trial. */
export function bubbles(messages: readonly Message[], verdict?: Verdict): HTMLElement {
  const quotes = verdict?.evidence ?? [];
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

/** A row for each quote: the category that it speaks for, and where it was measured the score with the words and without. */
export function effects({ evidence, categories }: Verdict): HTMLElement {
  const list = make('ul', 'bars');
  for (const { quote, category, effect } of evidence) {
    const known = categories.find(({ id }) => id === category);
    const row = make('li', '', make('q', '', quote));
    if (known && effect !== undefined) {
      const track = make('span', 'track', make('span', 'fill'), make('span', 'without'));
      track.setAttribute('aria-hidden', 'true');
      track.style.setProperty('--score', String(known.score));
      track.style.setProperty('--without', String(effect));
      const figure = make(
        'span',
        'figure',
        make('strong', '', known.score.toFixed(2)),
        ` → ${effect.toFixed(2)} without it`,
      );
      row.append(make('span', 'for', known.name || known.id), figure, track);
    } else if (category) row.append(make('span', 'for', known?.name || category));
    list.append(row);
  }
  const note = make('p', 'note small-note', 'The lit part of a bar is what the words add to the score.');
  return make('div', '', list, ...(list.querySelector('.without') ? [note] : []));
}

/** The text with the quoted stretches in marks; where quotes overlap or touch, in one. */
function marked(text: string, quotes: readonly Evidence[]): (Node | string)[] {
  const stretches: { start: number; end: number }[] = [];
  const inside = quotes.filter(({ start, end }) => start >= 0 && start < end && end <= text.length);
  for (const { start, end } of inside.sort((a, b) => a.start - b.start)) {
    const last = stretches.at(-1);
    if (last && start <= last.end) last.end = Math.max(last.end, end);
    else stretches.push({ start, end });
  }
  const pieces = stretches.flatMap(({ start, end }, i) => [
    text.slice(stretches[i - 1]?.end, start),
    make('mark', '', text.slice(start, end)),
  ]);
  return [...pieces, text.slice(stretches.at(-1)?.end)];
}
