/** Values that callers hand in, read once with everything that can go wrong: getters that throw, cycles, what JSON drops in
 * silence. */

import { GuardError } from './errors.ts';
import type { Finding } from './types.ts';

/** As in the core: values of a policy, and levels of nesting. */
const MAX_VALUES = 20_000;
const MAX_DEPTH = 16;

/** The value of `read`, which reads what a caller gave; if that throws, it is the caller's mistake.
 *
 * @throws GuardError `bad_input` with the cause. */
export function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof GuardError) throw error;
    throw new GuardError('bad_input', `${what} could not be read: ${reason(error)}`, { cause: error });
  }
}

/** The names that options may have. */
export type Names<T> = { readonly [Name in keyof T]-?: true };

/** A caller's options, read once; none where there are none.
 *
 * @throws GuardError `bad_input` if it is no object, has an option of another name, or one that cannot be read. */
export function optionsOf<T extends object>(given: T, names: Names<T>): T {
  if (given === undefined) return {} as T;
  if (typeof given !== 'object' || given === null) {
    throw new GuardError('bad_input', `the options: expected an object but got ${shown(given)}`);
  }
  const options = reading('the options', () => ({ ...given }));
  const strange = Object.keys(options).find((name) => !Object.hasOwn(names, name));
  if (strange === undefined) return options;
  const known = Object.keys(names).join(', ');
  throw new GuardError('bad_input', `there is no option ${shown(strange)}; expected one of ${known}`);
}

/** The fields that have a value: an option that is absent is another's to choose. */
export const defined = <T extends object>(given: T): { [Field in keyof T]?: Exclude<T[Field], undefined> } =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as never;

/** An option that is absent or passes.
 *
 * @throws GuardError `bad_input` that names the option. */
export function checked<T>(option: string, value: T, expected: string, passes: (value: unknown) => boolean): T {
  if (value === undefined || reading(option, () => passes(value))) return value;
  throw new GuardError('bad_input', `${option}: expected ${expected} but got ${shown(value)}`);
}

export const isFunction = (value: unknown): boolean => typeof value === 'function';
export const isFlag = (value: unknown): boolean => typeof value === 'boolean';

/** By what it does: a signal of another realm is one, too. */
export function isSignal(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { aborted, addEventListener, removeEventListener } = value as AbortSignal;
  return typeof aborted === 'boolean' && isFunction(addEventListener) && isFunction(removeEventListener);
}

/** A value as an error message shows it. */
export function shown(value: unknown): string {
  if (value === null || value === undefined || typeof value === 'number' || typeof value === 'boolean')
    return String(value);
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'bigint') return 'a bigint';
  if (typeof value !== 'object') return `a ${typeof value}`;
  return kind(value) === 'an Array' ? 'a list' : kind(value);
}

/** A policy object as JSON, which says no less than the object does.
 *
 * @throws GuardError `bad_policy` with a finding at the first value that a policy file could not hold. */
export function policyJson(policy: object): string {
  let left = MAX_VALUES;
  const above: object[] = [];

  const copy = (value: unknown, path: string): unknown => {
    if (left-- <= 0) throw refused(path, `at most ${MAX_VALUES} values`, 'more');
    if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
    if (typeof value === 'number') {
      if (!Number.isFinite(value)) throw refused(path, 'a finite number', String(value));
      return value;
    }
    if (typeof value !== 'object') throw refused(path, 'a value that JSON has', shown(value));
    if (above.includes(value)) throw refused(path, 'a value that does not hold itself', 'a cycle');
    if (above.length >= MAX_DEPTH) throw refused(path, `at most ${MAX_DEPTH} levels of nesting`, 'more');
    above.push(value);
    const copied = isList(value, path) ? list(value, path) : mapping(value, path);
    above.pop();
    return copied;
  };
  const list = (values: readonly unknown[], path: string) => {
    // By index, because methods of arrays pass over holes.
    const copied: unknown[] = [];
    for (let at = 0; at < values.length; at++) copied.push(copy(get(values, at, `${path}[${at}]`), `${path}[${at}]`));
    return copied;
  };
  const mapping = (value: object, path: string) => {
    if (kind(value) !== 'an Object') throw refused(path, 'a plain object', kind(value));
    const copied: Record<string, unknown> = Object.create(null);
    for (const key of keys(value, path)) {
      const place = path === '' ? key : `${path}.${key}`;
      const field = get(value, key, place);
      // A field that is undefined is one that is not there: so options are passed on.
      if (field !== undefined) copied[key] = copy(field, place);
    }
    return copied;
  };
  return JSON.stringify(copy(policy, ''));
}

function isList(value: object, path: string): value is unknown[] {
  try {
    return Array.isArray(value);
  } catch (error) {
    throw refused(path, 'an object whose fields can be read', reason(error), error);
  }
}

function get(value: object, key: PropertyKey, path: string): unknown {
  try {
    return Reflect.get(value, key);
  } catch (error) {
    throw refused(path, 'a value', `a getter that throws: ${reason(error)}`, error);
  }
}

function keys(value: object, path: string): string[] {
  try {
    return Object.keys(value);
  } catch (error) {
    throw refused(path, 'an object whose fields can be read', reason(error), error);
  }
}

/** The class of an object, the same for those of other realms and behind proxies. */
function kind(value: object): string {
  try {
    const name = Object.prototype.toString.call(value).slice(8, -1);
    return `${/^[aeiou]/i.test(name) ? 'an' : 'a'} ${name}`;
  } catch {
    return 'an object that cannot be read';
  }
}

function reason(error: unknown): string {
  try {
    return error instanceof Error ? error.message : String(error);
  } catch {
    return 'an error that cannot be read';
  }
}

function refused(path: string, expected: string, found: string, cause?: unknown): GuardError {
  const message = `${path === '' ? '' : `${path}: `}expected ${expected}, found ${found}`;
  const finding: Finding = { severity: 'error', path, expected, found, message };
  return new GuardError('bad_policy', `bad policy: ${message}`, { findings: [finding], cause });
}
