/** Small helpers for the page: finding and making elements, and figures as people read them. Text only ever enters the
 * page as text nodes. */

type Child = Node | string;

/** The element with this id, which the page must have. */
export function byId<T extends Element = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`expected an element with the id ${id} in the page, found none`);
  return found as Element as T;
}

/** A new element. `className` may be empty; strings become text nodes. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** A button with a text and what it does. */
export function button(text: string, className: string, onClick: () => void): HTMLButtonElement {
  const element = make('button', className, text);
  element.type = 'button';
  element.addEventListener('click', onClick);
  return element;
}

/** Text in which `backticks` set code apart, as the library's messages have it. */
export function withCode(text: string): Child[] {
  return text.split('`').map((piece, i) => (i % 2 === 1 ? make('code', '', piece) : piece));
}

const ICONS = {
  allow: 'M9.2 16.6 4.9 12.3 6.6 10.6 9.2 13.2 17.4 5 19.1 6.7Z',
  review: 'M10.8 4H13.2V14.2H10.8ZM10.8 17H13.2V19.4H10.8Z',
  block: 'M6.7 5 12 10.3 17.3 5 19 6.7 13.7 12 19 17.3 17.3 19 12 13.7 6.7 19 5 17.3 10.3 12 5 6.7Z',
} as const;

/** A drawn sign for a decision; the word beside it carries the meaning for those who do not see it. */
export function icon(name: keyof typeof ICONS): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.classList.add('icon');
  const path = document.createElementNS(svg.namespaceURI, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** Terms and their descriptions, for a `dl`. */
export function facts(list: HTMLElement, pairs: readonly (readonly [string, string])[]): void {
  list.replaceChildren(...pairs.map(([term, text]) => make('div', '', make('dt', '', term), make('dd', '', text))));
}

/** The value of the radio button that is chosen in a group. */
export function chosen(group: HTMLElement): string {
  return group.querySelector<HTMLInputElement>('input:checked')?.value ?? '';
}

export function choose(group: HTMLElement, value: string): void {
  for (const input of group.querySelectorAll('input')) input.checked = input.value === value;
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB`;
}

export function milliseconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
