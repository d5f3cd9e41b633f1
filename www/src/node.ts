/** rsafe in Node: the CPU build, read from the package's files, in a worker thread of its own or on the calling thread. */

import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { EngineSpec } from './engine.ts';
import { openGuard, type Platform } from './guard.ts';
import { LocalEngine } from './local.ts';
import { installedModel } from './model/installed.ts';
import { contentOf, keptName } from './model/source.ts';
import { beside, instances, nodeParts, readRegular } from './node-parts.ts';
import { RemoteEngine, type WorkerLike } from './remote.ts';
import { clearCache as clear } from './store.ts';
import { Tools } from './tools.ts';
import type { Finding, Guard, GuardOptions, PolicyObject, PolicySource } from './types.ts';

export { isSupported } from './device.ts';
export { type ErrorCode, GuardError } from './errors.ts';
export { builtinPolicies } from './policy.ts';
export { type Moderation, type ModerationResult, toLlamaGuard, toOpenAI } from './render.ts';
export { cacheStatus } from './store.ts';
export type * from './types.ts';

const base = () => pathToFileURL(`${process.cwd()}/`).href;

/** A thread as the browser's workers are. It keeps the process alive only while a call is open, and takes none of the
 * process's own flags: some, such as `--input-type`, no thread starts with. */
function startThread(): WorkerLike {
  const script = beside('node-worker.js');
  const thread = new Worker(/* turbopackIgnore: true */ script, { name: 'rsafe', execArgv: [] });
  thread.unref();
  const events = new EventTarget();
  const tell = (type: string, fields: object) => events.dispatchEvent(Object.assign(new Event(type), fields));
  thread.on('message', (data: unknown) => tell('message', { data }));
  thread.on('messageerror', () => tell('messageerror', {}));
  thread.on('error', (error: unknown) =>
    tell('error', { message: error instanceof Error ? error.message : String(error) }),
  );
  thread.on('exit', (code) => tell('error', { message: `it ended with ${code}` }));
  return {
    help: "keep the package's dist folder together where the server runs, outside of a bundle",
    postMessage: (message) => thread.postMessage(message),
    terminate: () => void thread.terminate(),
    addEventListener: (type, listener) => events.addEventListener(type, listener),
    hold: (held) => (held ? thread.ref() : thread.unref()),
  };
}

/** Files as plain bytes: Node's clones of a `File` lose their name. */
async function sendable(spec: EngineSpec): Promise<EngineSpec> {
  if (spec.model.kind !== 'files') return spec;
  const files = spec.model.files.map(async (file) => ({
    name: file.name,
    size: file.size,
    content: await contentOf(file),
  }));
  return { ...spec, model: { kind: 'files', files: await Promise.all(files) } };
}

const platform: Platform = {
  reach: {
    fetch: (...request) => fetch(...request),
    get base() {
      return base();
    },
    readFile: (url, most) => readRegular(url, 'bad_policy', most),
  },
  ownModel: installedModel,
  async connect(spec, hooks, { worker = true, fetch }) {
    // A function cannot be sent to a thread.
    const here = !worker || fetch !== undefined;
    return here
      ? LocalEngine.load(nodeParts(fetch), spec, hooks)
      : RemoteEngine.load(startThread, await sendable(spec), hooks);
  },
};

/** Loads a model and gives a guard, on the CPU. Relative addresses are relative to the working directory.
 *
 * @throws GuardError e.g. `network`, `integrity`, `bad_model`, `bad_policy`, `self_test`, `aborted`. */
export function createGuard(options: GuardOptions = {}): Promise<Guard> {
  return openGuard(options, platform);
}

let tools: Tools | undefined;
const policyTools = () => (tools ??= new Tools(instances, platform.reach));

/** Every mistake and every doubtful place of a policy file's text; none for a clean one. `fileName` helps to tell the
 * format. */
export function lintPolicy(text: string, fileName?: string): Promise<Finding[]> {
  return policyTools().lintPolicy(text, fileName);
}

/** Reads a policy into an object.
 *
 * @throws GuardError `bad_policy` with `findings`, or `network`. */
export function parsePolicy(source: PolicySource): Promise<PolicyObject> {
  return policyTools().parsePolicy(source);
}

/** Removes a model kept in memory, by its address, or all of them. */
export async function clearCache(model?: string | URL): Promise<void> {
  await clear(model === undefined ? undefined : keptName(model, base()));
}
