/** Texts that are held back, as those see them who release or judge them. */

/** What a text is that is judged as a whole: the call of a tool, which comes in pieces and is judged at its end, since half
 * of a call says little; or something that comes whole, judged at once. */
export type Kind = 'call' | 'note';

/** Who judges the texts of one answer. */
export interface Watch {
  /** Opens the monitor of the text that grows at a place. */
  open(place: string): TransformStream<string | Uint8Array, string | Uint8Array>;
  /** Judges a text that is whole. Rejects if it does not pass. */
  whole(kind: Kind, place: string, text: string): Promise<void>;
  /** Does a piece of the guard's work, in its turn and time. */
  run<T>(work: () => Promise<T>): Promise<T>;
}

/** How far a text must be released, in UTF-16 units. */
export interface Need {
  text: { readonly released: number };
  upto: number;
}

/** What is said at one place of an answer. */
export interface Held {
  /** More of it; `path` says which item it belongs to, where the place is a list. */
  add(path: string, text: string): void;
  /** All that was said here. */
  readonly text: string;
  /** What must be released before all that came so far may go. */
  readonly needs: Need[];
  /** Judges what is new, as far as that is due before the end. */
  judge(): Promise<void>;
  /** Judges the rest, but not a call where the answer has broken off: half of one is none. More may come behind it all the
   * same, and is judged anew. */
  finish(broken?: boolean): Promise<void>;
  cancel(): void;
}
