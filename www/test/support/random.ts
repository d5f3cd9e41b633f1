/** Random values that are the same for a seed. */

/** A generator of numbers in [0, 1) (mulberry32), and what is made of it. */
export function randomly(seed: number) {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const below = (most: number): number => Math.floor(next() * most);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;

  const NAMES = [
    'content',
    'text',
    'reasoning',
    'summary',
    'role',
    'id',
    'type',
    'finish_reason',
    'aside',
    'x',
    'usage',
    'model',
  ];
  const scalar = () => pick<unknown>([null, true, 7, 'fine', '', 'stop', 'function', -0.5]);

  /** A value with `text` somewhere in it, as a string or as a name, and harmless things beside it. */
  function planted(text: string, depth: number): { value: unknown } {
    let value: unknown = text;
    if (below(3) === 0) value = { [text]: scalar() };
    for (let level = 1 + below(depth); level > 0; level--) {
      const beside = Object.fromEntries(Array.from({ length: below(3) }, () => [`n${below(99)}`, scalar()]));
      if (below(3) === 0) value = [{ text: 'fine' }, value, 'fine'];
      else value = { ...beside, [pick(NAMES)]: value };
    }
    return { value };
  }

  /** A text cut at random. */
  function cut(text: string): string[] {
    const pieces: string[] = [];
    for (let at = 0; at < text.length; ) {
      const size = 1 + below(6);
      pieces.push(text.slice(at, at + size));
      at += size;
    }
    return pieces;
  }

  return { next, below, pick, planted, cut };
}
