/** What was judged and found harmless, so that a growing chat costs only what is new in it. Texts are not kept, only
 * digests of them. */

import { digest } from '../hash.ts';

/** A bounded set of digests; who was not asked for longest is forgotten first. */
export class Passed {
  readonly #most: number;
  readonly #digests = new Set<string | undefined>();

  constructor(most: number) {
    this.#most = most;
  }

  has(digest: string | undefined): boolean {
    const known = this.#digests.has(digest);
    if (known) this.add(digest);
    return known;
  }

  add(digest: string | undefined): void {
    if (digest === undefined) return;
    this.#digests.delete(digest);
    this.#digests.add(digest);
    const [oldest] = this.#digests;
    if (this.#digests.size > this.#most) this.#digests.delete(oldest);
  }
}

/** A digest of what a verdict depends on, where the platform has one. */
export async function digestOf(...parts: unknown[]): Promise<string | undefined> {
  const found = await digest(new TextEncoder().encode(JSON.stringify(parts)));
  return found && String.fromCharCode(...found);
}
