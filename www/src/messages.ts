/** Reads what comes across a worker's border. A page may send its worker anything, and a worker that is not ours may
 * answer anything: what is no message of the protocol is told apart here, before anybody acts on it. */

import type { CheckRequest, EngineSpec, MonitorRequest } from './engine.ts';
import type { Calls, FromWorker, ToWorker } from './protocol.ts';

/** A call that cannot be made, and why. */
export interface Refused {
  type: 'refused';
  id: number;
  why: string;
}

/** What is wrong with a value, in words; nothing if it is what it should be. */
type Shape = (value: unknown, name: string) => string | undefined;

type Fields<T> = { readonly [Field in keyof T]-?: Shape };

const is =
  (expected: string, holds: (value: unknown) => boolean): Shape =>
  (value, name) =>
    holds(value) ? undefined : `${name}: expected ${expected} but got ${kind(value)}`;

const text = is('a text', (value) => typeof value === 'string');
const flag = is('true or false', (value) => typeof value === 'boolean');
const unit = is('a number from 0 to 1', (value) => typeof value === 'number' && value >= 0 && value <= 1);
const whole = (least: number) =>
  is(`a whole number from ${least}`, (value) => Number.isSafeInteger(value) && (value as number) >= least);
const oneOf = (...values: string[]) => is(`one of ${values.join(', ')}`, (value) => values.includes(value as string));

const optional =
  (shape: Shape): Shape =>
  (value, name) =>
    value === undefined ? undefined : shape(value, name);

const list =
  (shape: Shape): Shape =>
  (value, name) =>
    Array.isArray(value)
      ? first(value, (item, i) => shape(item, `${name}[${i}]`))
      : `${name}: expected a list but got ${kind(value)}`;

const record =
  (fields: Record<string, Shape>): Shape =>
  (value, name) => {
    if (!isObject(value)) return `${name}: expected an object but got ${kind(value)}`;
    return first(Object.entries(fields), ([field, shape]) => shape(value[field], `${name}.${field}`));
  };

/** One of several records, told apart by what `choose` finds in the value. */
const either =
  (choose: (value: Record<string, unknown>) => Shape): Shape =>
  (value, name) =>
    isObject(value) ? choose(value)(value, name) : `${name}: expected an object but got ${kind(value)}`;

const policy = either((value) =>
  'builtin' in value
    ? record({ builtin: text })
    : record({ text, fileName: optional(text), limits: optional(oneOf('owner', 'caller')) }),
);

const named = { name: text, size: whole(0) };
const bytes = is('bytes', (value) => value instanceof ArrayBuffer || value instanceof Uint8Array);
const arrayBuffer = is('a function', (value) => typeof value === 'function');
const file = either((value) => record('content' in value ? { ...named, content: bytes } : { ...named, arrayBuffer }));
const texts = either((value) => record(Object.fromEntries(Object.keys(value).map((name) => [name, text]))));
const model = either(({ kind }) => {
  if (kind === 'address') return record({ address: text });
  if (kind === 'files') return record({ files: list(file) });
  if (kind === 'package') return record({ name: text, manifest: text, files: texts });
  return record({ kind: oneOf('package', 'address', 'files') });
});

const SPEC: Fields<EngineSpec> = {
  model,
  device: oneOf('auto', 'webgpu', 'cpu'),
  onError: oneOf('block', 'review'),
  cache: flag,
  offline: flag,
  allowUntested: flag,
  policy: optional(policy),
  assets: optional(text),
  webgpu: optional(record({ glue: text, code: text })),
  maxWork: optional(whole(1)),
};

const parts = list(record({ type: text, text: optional(text) }));
const content: Shape = (value, name) => (typeof value === 'string' || value === null ? undefined : parts(value, name));

const CHECK: Fields<CheckRequest> = {
  messages: list(record({ role: text, content })),
  policy: optional(policy),
  target: optional(oneOf('prompt', 'response')),
  reasoning: oneOf('never', 'auto', 'always'),
  strictness: optional(unit),
};
const MONITOR: Fields<MonitorRequest> = {
  ...CHECK,
  checkEvery: whole(1),
  holdBack: whole(0),
  pace: oneOf('steady', 'adaptive'),
  releaseOnReview: flag,
};

const CALLS: { readonly [Name in keyof Calls]: Fields<Calls[Name]['send']> } = {
  load: { spec: record(SPEC) },
  check: { request: record(CHECK), events: flag },
  monitor: { request: record(MONITOR) },
  push: { monitor: whole(1), text },
  checkNow: { monitor: whole(1) },
  finish: { monitor: whole(1) },
  policy: { policy },
};

const NOTES = { abort: { id: whole(1) }, ack: { id: whole(1) }, close: { monitor: whole(1) } };

/** Reads a message to a worker. A call that makes no sense is refused; what is no call, or has no number by which it could
 * be answered, is nothing. */
export function readToWorker(data: unknown): ToWorker | Refused | undefined {
  if (!isObject(data)) return undefined;
  const { type, id } = data;
  if (has(NOTES, type)) return record(NOTES[type])(data, type) === undefined ? (data as ToWorker) : undefined;
  if (whole(1)(id, 'id') !== undefined) return undefined;
  const why = has(CALLS, type)
    ? record(CALLS[type])(data, type)
    : oneOf(...Object.keys(CALLS), ...Object.keys(NOTES))(type, 'type');
  return why === undefined ? (data as ToWorker) : { type: 'refused', id: id as number, why };
}

const error = record({ code: text, message: text });
const ANSWERS: { readonly [Type in FromWorker['type']]: Record<string, Shape> } = {
  hello: { lock: optional(text) },
  progress: { progress: record({}) },
  event: { id: whole(1), event: record({ type: text }) },
  done: { id: whole(1) },
  failed: { id: whole(1), error },
  trapped: { why: text },
};

/** Reads a message from a worker; what is none of the protocol's is nothing. */
export function readFromWorker(data: unknown): FromWorker | undefined {
  if (!isObject(data) || !has(ANSWERS, data['type'])) return undefined;
  return record(ANSWERS[data['type']])(data, 'message') === undefined ? (data as FromWorker) : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function has<T extends object>(record: T, key: unknown): key is keyof T & string {
  return typeof key === 'string' && Object.hasOwn(record, key);
}

/** What is wrong with the first of the items with which something is. */
function first<T>(items: readonly T[], wrong: (item: T, index: number) => string | undefined): string | undefined {
  for (let i = 0; i < items.length; i++) {
    const why = wrong(items[i] as T, i);
    if (why !== undefined) return why;
  }
  return undefined;
}

/** What a value is, without quoting it: it may be what a user wrote. */
function kind(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'number' ? String(value) : typeof value;
}
