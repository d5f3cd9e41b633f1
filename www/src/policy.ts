/** Finds a policy's text: where a `PolicySource` points to, read but not parsed. Parsing is the compiled core's. */

import { fetchSmall } from './download.ts';
import { GuardError } from './errors.ts';
import { policyJson, reading } from './plain.ts';
import { throwIfAborted } from './signals.ts';
import type { PolicyLimits, PolicySource } from './types.ts';

/** The names of the policies compiled into rsafe. */
export const builtinPolicies: readonly string[] = ['rsafe', 'mlcommons', 'openai', 'general', 'agents'];

/** As in the core, which refuses what is larger; here so that it is not even read. */
const MAX_BYTES = 256 * 1024;

/** A policy as it goes to the core, in a form that crosses a worker's border. */
export type PolicyText =
  | { builtin: string }
  | {
      text: string;
      /** Helps to tell the format. */
      fileName?: string | undefined;
      /** Whose limits its rules have; absent: the owner's. */
      limits?: PolicyLimits | undefined;
    };

/** How this platform reads an address. */
export interface Reach {
  fetch: typeof fetch;
  /** What relative addresses are relative to; `undefined` where nothing is. */
  base: string | undefined;
  /** Reads a file of the disk, where there is one. */
  readFile?: ((url: URL, most: number) => Promise<Uint8Array>) | undefined;
}

/** Whether a source is an address: a `URL`, or a string of one line that starts with `/`, `./`, `../` or a scheme, blanks
 * around it aside. A scheme is followed by something other than a space, which YAML's `key: value` is not. */
export function isAddress(source: PolicySource): boolean {
  if (typeof source !== 'string') return isUrl(source);
  return /^(?:\.{0,2}\/|[a-z][a-z0-9+.-]*:\S)[^\r\n]*$/i.test(source.trim());
}

/** Whether a source is an address as an object. Asking a hostile proxy for its class may throw. */
export function isUrl(source: unknown): source is URL {
  return reading('the policy', () => source instanceof URL);
}

/** An absolute address. */
export function resolveAddress(address: string | URL, base: string | undefined): URL {
  try {
    return new URL(String(address).trim(), base);
  } catch {
    const expected = base === undefined ? 'an absolute address' : 'an address';
    throw new GuardError('bad_input', `expected ${expected} but got ${JSON.stringify(String(address))}`);
  }
}

/** The text that a source stands for.
 *
 * @throws GuardError `network` if an address cannot be read, `bad_policy` for a name that no built-in policy has, a file
 * that is too large, and an object that holds what no policy file could say. */
export async function resolvePolicy(source: PolicySource, reach: Reach, signal?: AbortSignal): Promise<PolicyText> {
  if (isUrl(source)) return readPolicy(source, reach, signal);
  if (typeof source === 'object' && source !== null) {
    return { text: policyJson(source), fileName: 'policy.json' };
  }
  if (typeof source !== 'string') {
    const message = `expected a policy's name, address, text or object but got ${typeof source}`;
    throw new GuardError('bad_policy', message);
  }
  if (builtinPolicies.includes(source)) return { builtin: source };
  if (isAddress(source)) return readPolicy(resolveAddress(source, reach.base), reach, signal);
  if (/^[\w-]*$/.test(source)) {
    const names = builtinPolicies.join(', ');
    const expected = `expected one of ${names}, an address, or a policy's text`;
    throw new GuardError('bad_policy', `no built-in policy has the name ${JSON.stringify(source)}; ${expected}`);
  }
  return { text: source };
}

async function readPolicy(url: URL, reach: Reach, signal?: AbortSignal): Promise<PolicyText> {
  const fileName = url.protocol === 'data:' ? undefined : url.pathname.split('/').pop();
  try {
    if (url.protocol === 'file:' && reach.readFile) {
      return { text: new TextDecoder().decode(await reach.readFile(url, MAX_BYTES)), fileName };
    }
    const bytes = await fetchSmall(url.href, { bytes: MAX_BYTES, code: 'bad_policy' }, { fetch: reach.fetch, signal });
    return { text: new TextDecoder().decode(bytes), fileName };
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof GuardError && error.code === 'bad_policy') throw error;
    const why = error instanceof Error ? error.message : String(error);
    // What is not there does not come by itself.
    const retryable =
      error instanceof GuardError ? error.retryable : (error as { code?: unknown } | null)?.code !== 'ENOENT';
    const message = `the policy ${url.href} could not be read: ${why}`;
    throw new GuardError('network', message, { retryable, cause: error });
  }
}
