/** Messages that nobody should send to a guard's worker: random values, and right messages with one thing wrong. */

/** The same numbers in [0, 1) for the same seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const SCALARS: unknown[] = [
  undefined,
  null,
  true,
  false,
  0,
  -1,
  1,
  2,
  0.5,
  NaN,
  Infinity,
  2 ** 53,
  '',
  'load',
  'constructor',
  '__proto__',
  '\ud800',
  10n,
  new Date(0),
  new Map([['type', 'load']]),
  new Uint8Array(3),
  new Error('no'),
  [],
];
const TYPES = [
  'load',
  'check',
  'monitor',
  'push',
  'checkNow',
  'finish',
  'policy',
  'abort',
  'ack',
  'close',
  'toString',
  'dispose',
];
const NAMES = ['type', 'id', 'spec', 'request', 'events', 'monitor', 'text', 'policy', 'messages', 'model', 'kind'];

/** Right messages, one of each kind. The model is a bundle of no files, so that nothing is loaded by them. */
export const RIGHT: readonly Record<string, unknown>[] = [
  {
    type: 'load',
    spec: {
      model: { kind: 'files', files: [] },
      device: 'cpu',
      onError: 'block',
      cache: false,
      offline: true,
      allowUntested: false,
      policy: { text: 'name: x', fileName: 'x.yaml' },
      assets: 'https://example.org/rsafe/',
      maxWork: 1000,
    },
  },
  {
    type: 'check',
    events: true,
    request: {
      messages: [{ role: 'user', content: [{ type: 'text', text: 'bread' }] }],
      policy: { builtin: 'general' },
      target: 'prompt',
      reasoning: 'never',
      strictness: 0.5,
    },
  },
  {
    type: 'monitor',
    request: { messages: [], reasoning: 'never', checkEvery: 1, holdBack: 0, pace: 'steady', releaseOnReview: true },
  },
  { type: 'push', monitor: 1, text: 'bread' },
  { type: 'checkNow', monitor: 1 },
  { type: 'finish', monitor: 1 },
  { type: 'policy', policy: { text: 'name: x', limits: 'caller' } },
];

/** A random value that can be sent; objects have the names of the protocol more often than others. */
export function value(next: () => number, depth = 4): unknown {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] as T;
  const size = Math.floor(next() * 4);
  if (depth === 0 || next() < 0.4) return pick(SCALARS);
  if (next() < 0.2) return Array.from({ length: size }, () => value(next, depth - 1));
  const made = Object.fromEntries(Array.from({ length: size }, () => [pick(NAMES), value(next, depth - 1)]));
  return next() < 0.8
    ? { ...made, type: pick(TYPES), id: next() < 0.7 ? Math.floor(next() * 1000) : pick(SCALARS) }
    : made;
}

/** Each message that is right but for one thing: a field, at any depth, is something else. */
export function* almostRight(next: () => number): Generator<{ message: Record<string, unknown>; path: string }> {
  for (const right of RIGHT) {
    for (const path of paths(right)) {
      const message = structuredClone(right);
      const last = path.at(-1)!;
      const holder = path
        .slice(0, -1)
        .reduce<Record<string, unknown>>((at, key) => at[key] as Record<string, unknown>, message);
      // No field of the protocol may be any of these.
      holder[last] = [-1, 2 ** 53, new Map()][Math.floor(next() * 3)];
      yield { message, path: path.join('.') };
    }
  }
}

function* paths(value: unknown, above: string[] = []): Generator<string[]> {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    yield [...above, key];
    yield* paths(inner, [...above, key]);
  }
}
