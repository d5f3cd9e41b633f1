/** What the isolate has judged and found harmless, so that a growing chat costs only what is new in it. Texts are not
 * kept, only digests of them. */

/** A bounded set of digests; who was not asked for longest is forgotten first. */
export class Memory {
  readonly #most: number;
  readonly #passed = new Set<string>();

  constructor(most: number) {
    this.#most = most;
  }

  has(digest: string): boolean {
    if (!this.#passed.delete(digest)) return false;
    this.#passed.add(digest);
    return true;
  }

  add(digest: string): void {
    if (this.#most === 0) return;
    this.#passed.delete(digest);
    for (const oldest of this.#passed) {
      if (this.#passed.size < this.#most) break;
      this.#passed.delete(oldest);
    }
    this.#passed.add(digest);
  }
}

/** A digest of what a verdict depends on: SHA-256 of its JSON. */
export async function digestOf(...parts: unknown[]): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(parts));
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return btoa(String.fromCharCode(...digest));
}
