/** What of a response its reader has seen: its last event repeats it. */

import { type Fields, fieldsOf, isFields, listOf, stringOf } from './fields.ts';

export class Shown {
  /** The response as it was announced. */
  response: Fields | null = null;
  /** The number of the event that comes next. */
  next = 0;
  readonly #items = new Map<number, Fields>();

  /** The items, in their order; those without an end are incomplete. */
  get output(): Fields[] {
    const items = [...this.#items].sort(([one], [other]) => one - other);
    return items.map(([, item]) => (item.status === 'in_progress' ? { ...item, status: 'incomplete' } : item));
  }

  add({ type, response, sequence_number, output_index, content_index, item, part, delta }: Fields): void {
    if (Number.isInteger(sequence_number)) this.next = Number(sequence_number) + 1;
    if (isFields(response)) this.response = response;
    if (isFields(item)) this.#items.set(Number(output_index), item);
    const known = this.#items.get(Number(output_index));
    if (!known || content_index === undefined) return;
    const content = [...listOf(known.content)];
    const at = Number(content_index);
    if (isFields(part)) content[at] = part;
    for (const field of ['text', 'refusal']) {
      if (type !== `response.${field === 'text' ? 'output_text' : field}.delta`) continue;
      const before = fieldsOf(content[at]);
      content[at] = { ...before, [field]: stringOf(before[field]) + stringOf(delta) };
    }
    this.#items.set(Number(output_index), { ...known, content });
  }
}
