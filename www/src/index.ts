/** rsafe in the browser: the guard runs in a module worker of its own, or in the page. */

import { browserParts, instancesAt } from './browser.ts';
import { GuardError } from './errors.ts';
import { openGuard, type Platform } from './guard.ts';
import { LocalEngine } from './local.ts';
import { installedModel } from './model/installed.ts';
import { keptName, MINI } from './model/source.ts';
import { resolveAddress } from './policy.ts';
import { RemoteEngine, type WorkerLike } from './remote.ts';
import { clearCache as clear } from './store.ts';
import { Tools } from './tools.ts';
import type { Assets, Finding, Guard, GuardOptions, PolicyObject, PolicySource } from './types.ts';

export { isSupported } from './device.ts';
export { type ErrorCode, GuardError } from './errors.ts';
export { builtinPolicies } from './policy.ts';
export { type Moderation, type ModerationResult, toLlamaGuard, toOpenAI } from './render.ts';
export { cacheStatus } from './store.ts';
export type * from './types.ts';

const base = () => globalThis.document?.baseURI ?? globalThis.location?.href;

/** The address of a copy of the package's files, absolute and with a `/` at its end. */
function assetsAt(assets: Assets['assets']): string | undefined {
  if (assets === undefined) return undefined;
  const url = resolveAddress(assets, base());
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url.href;
}

/** How the guard's worker is started. The address beside the code is spelt out in one expression, which is how bundlers
 * find the worker; theirs lies where they put it, and is not looked for. */
function starter(worker: GuardOptions['worker'], assets: string | undefined): () => WorkerLike {
  if (typeof worker === 'function') return () => made(worker());
  const script = new URL('worker.js', assets ?? import.meta.url);
  if (/^https?:/.test(script.protocol) && script.origin !== globalThis.location?.origin)
    return () => fromElsewhere(script);
  if (assets !== undefined) return () => new Worker(script, { type: 'module', name: 'rsafe' });
  return () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'rsafe' });
}

/** Browsers start no worker from another origin, but let one of the page's own import what CORS allows. */
function fromElsewhere(script: URL): Worker {
  const code = `import ${JSON.stringify(script.href)};`;
  const own = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  return new Worker(own, { type: 'module', name: 'rsafe' });
}

function made(worker: unknown): Worker {
  if (typeof Worker === 'function' && worker instanceof Worker) return worker;
  throw new GuardError(
    'bad_input',
    `worker: expected a function that returns a new Worker but it returned ${typeof worker}`,
  );
}

const platform: Platform = {
  reach: {
    fetch: (...request) => fetch(...request),
    get base() {
      return base();
    },
  },
  async ownModel({ assets }) {
    if (assets === undefined) return installedModel();
    return { kind: 'address', address: new URL(`${MINI}/`, assetsAt(assets)).href };
  },
  async connect(spec, hooks, { worker = true, fetch, assets: given }) {
    const assets = assetsAt(given);
    const placed = { ...spec, assets };
    const here = !worker || typeof Worker !== 'function' || fetch !== undefined;
    if (here) return LocalEngine.load(browserParts(placed, fetch), placed, hooks);
    return RemoteEngine.load(starter(worker, assets), placed, hooks);
  },
};

/** Loads a model and gives a guard. The first load of `rsafe-mini` reads about 24 MB from where its package lies, or from
 * `assets`; later ones find it kept.
 *
 * @throws GuardError e.g. `unsupported`, `network`, `integrity`, `bad_model`, `bad_policy`, `self_test`, `aborted`. */
export function createGuard(options: GuardOptions = {}): Promise<Guard> {
  return openGuard(options, platform);
}

const tools = new Map<string | undefined, Tools>();

/** The tools of the build at a place. */
function policyTools(options: Assets): Tools {
  const assets = assetsAt(options.assets);
  const known = tools.get(assets) ?? new Tools(instancesAt(assets), platform.reach);
  tools.set(assets, known);
  return known;
}

/** Every mistake and every doubtful place of a policy file's text; none for a clean one. `fileName` helps to tell the
 * format. Loads the CPU build, but no model. */
export async function lintPolicy(text: string, fileName?: string, options: Assets = {}): Promise<Finding[]> {
  return policyTools(options).lintPolicy(text, fileName);
}

/** Reads a policy into an object.
 *
 * @throws GuardError `bad_policy` with `findings`, or `network`. */
export async function parsePolicy(source: PolicySource, options: Assets = {}): Promise<PolicyObject> {
  return policyTools(options).parsePolicy(source);
}

/** Removes a kept model, by its address or name, or all of them. */
export async function clearCache(model?: string | URL): Promise<void> {
  await clear(model === undefined ? undefined : keptName(model, base()));
}
