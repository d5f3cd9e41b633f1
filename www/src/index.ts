/** rsafe in the browser: the guard runs in a module worker of its own, or in the page. */

import { browserParts, instances } from './browser.ts';
import type { Engine, EngineSpec, LoadHooks } from './engine.ts';
import { openGuard, type Platform } from './guard.ts';
import { LocalEngine } from './local.ts';
import type { Reach } from './policy.ts';
import { RemoteEngine } from './remote.ts';
import { clearCache as clear } from './store.ts';
import { bundleAddress, BUNDLED } from './model/source.ts';
import { Tools } from './tools.ts';
import type { Finding, Guard, GuardOptions, PolicyObject, PolicySource } from './types.ts';

export { isSupported } from './device.ts';
export { type ErrorCode, GuardError } from './errors.ts';
export { builtinPolicies } from './policy.ts';
export { cacheStatus } from './store.ts';
export type * from './types.ts';

const base = () => globalThis.document?.baseURI ?? globalThis.location?.href;

const reach = (fetch?: typeof globalThis.fetch): Reach => ({
  fetch: fetch ?? globalThis.fetch.bind(globalThis),
  base: base(),
});

// Spelt out in one expression, which is how bundlers find the worker.
const startWorker = () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'rsafe' });

/** Loads a model and gives a guard. The first load reads about 24 MB from beside the code; later ones find it kept.
 *
 * @throws GuardError e.g. `unsupported`, `network`, `integrity`, `bad_model`, `bad_policy`, `self_test`, `aborted`. */
export function createGuard(options: GuardOptions = {}): Promise<Guard> {
  const workers = typeof Worker === 'function' && !options.fetch;
  const here = !(options.worker ?? true) || !workers;
  const connect = (spec: EngineSpec, hooks: LoadHooks): Promise<Engine> =>
    here ? LocalEngine.load(browserParts(options.fetch), spec, hooks) : RemoteEngine.load(startWorker, spec, hooks);
  const platform: Platform = { reach: reach(options.fetch), bundled: true, connect };
  return openGuard(options, platform);
}

let tools: Tools | undefined;
const policyTools = () => (tools ??= new Tools(instances, reach()));

/** Every mistake and every doubtful place of a policy file's text; none for a clean one. `fileName` helps to tell the
 * format. Loads the CPU build, but no model. */
export function lintPolicy(text: string, fileName?: string): Promise<Finding[]> {
  return policyTools().lintPolicy(text, fileName);
}

/** Reads a policy into an object.
 *
 * @throws GuardError `bad_policy` with `findings`, or `network`. */
export function parsePolicy(source: PolicySource): Promise<PolicyObject> {
  return policyTools().parsePolicy(source);
}

/** Removes a kept model, by its address or name, or all of them. */
export function clearCache(model?: string | URL): Promise<void> {
  if (model === undefined || model === BUNDLED) return clear(model);
  return clear(bundleAddress(new URL(model, base()).href).folder.href);
}
