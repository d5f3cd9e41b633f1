/** rsafe at the edge, in workerd: code and model are handed in, because there are no files and nothing may be compiled. */

import * as glue from './wasm/cpu.js';
import { GuardError } from './errors.ts';
import { openGuard, type OpenOptions, type Platform } from './guard.ts';
import { Instances } from './instance.ts';
import type { LocalParts } from './load.ts';
import { LocalEngine } from './local.ts';
import { addressModel, type FileLike, filesModel, packageModel } from './model/source.ts';
import { checked, isFunction, reading } from './plain.ts';
import { Tools } from './tools.ts';
import type { Finding, Guard, GuardOptions, ModelPackage, ModelSource, PolicyObject, PolicySource } from './types.ts';
import type { WasmModule } from './wasm.ts';

export { isSupported } from './device.ts';
export { type ErrorCode, GuardError } from './errors.ts';
export { builtinPolicies, isAddress } from './policy.ts';
export { type Moderation, type ModerationResult, toLlamaGuard, toOpenAI } from './render.ts';
export type * from './types.ts';

export interface WorkerdOptions
  extends Omit<GuardOptions, 'model' | 'device' | 'worker' | 'assets' | 'cache' | 'offline' | 'fetch'> {
  /** The compiled CPU build: `import wasm from 'rsafe/cpu.wasm'`. */
  wasm: WebAssembly.Module;
  /** A bundle: its absolute address, its files, or their bytes by name (`manifest.json` among them). */
  model: ModelSource | Readonly<Record<string, ArrayBuffer | Uint8Array>>;
  /** Reads the model's and the policy's addresses: a function, or a binding such as `env.ASSETS`. Default: the global `fetch`. */
  fetch?: typeof fetch | Fetching;
}

/** What fetches for a worker, as its bindings do. */
export interface Fetching {
  fetch(request: RequestInfo | URL, init?: RequestInit): Promise<Response>;
}

let code: WebAssembly.Module | undefined;

/** The isolate has one copy of the glue, so its guards share an instance. */
const instances = new Instances({
  single: true,
  glue: async () => glue as unknown as WasmModule,
  code: async () => {
    if (code) return code;
    const message = "expected `wasm` as a WebAssembly.Module, from `import wasm from 'rsafe/cpu.wasm'`";
    throw new GuardError('bad_input', message);
  },
});

const parts = (fetch = globalThis.fetch.bind(globalThis)): LocalParts => ({
  instances,
  withoutGpu: 'there is no WebGPU here',
  async open({ model }, signal) {
    if (model.kind === 'files') return filesModel(model.files);
    if (model.kind === 'address') return addressModel(model.address, { fetch, cache: false, offline: false, signal });
    return packageModel(model, { fetch, cache: false, offline: false, signal });
  },
});

const platform: Platform = {
  reach: { fetch: (...request) => fetch(...request), base: undefined },
  connect: (spec, hooks, { fetch }) => LocalEngine.load(parts(fetch), spec, hooks),
};

/** Loads a model and gives a guard, on the CPU. An isolate has 128 MB, the model's working memory among them. One guard
 * serves all requests, one check after the other: give each check's promise to `ctx.waitUntil`, so that a client that
 * hangs up does not stop the work on which the next one waits.
 *
 * @throws GuardError e.g. `bad_input`, `network`, `integrity`, `bad_model`, `bad_policy`, `self_test`, `aborted`. */
export async function createGuard(given: WorkerdOptions): Promise<Guard> {
  if (typeof given !== 'object' || given === null) {
    throw new GuardError(
      'bad_input',
      `the options: expected an object with \`wasm\` and \`model\` but got ${typeof given}`,
    );
  }
  const { wasm, model, fetch, ...options } = reading('the options', () => ({ ...given }));
  code = wasm;
  return openGuard({ ...options, ...asFetch(fetch), model: asFiles(model), device: 'cpu', cache: false }, platform);
}

/** A binding's `fetch` works on the binding only. */
function asFetch(fetch: WorkerdOptions['fetch']): Pick<OpenOptions, 'fetch'> {
  if (fetch === undefined) return {};
  if (typeof fetch === 'function') return { fetch };
  checked('fetch', fetch, 'a function, or an object that has one', (binding) =>
    isFunction((binding as Fetching).fetch),
  );
  return { fetch: (...request) => fetch.fetch(...request) };
}

function asFiles(model: WorkerdOptions['model']): NonNullable<OpenOptions['model']> {
  if (typeof model !== 'object' || model instanceof URL || Array.isArray(model) || isPackage(model))
    return model as ModelSource;
  return Object.entries(model as Record<string, ArrayBuffer | Uint8Array>).map(
    ([name, bytes]): FileLike => ({
      name,
      size: bytes.byteLength,
      // The core copies; a copy here would be one too many for the isolate.
      arrayBuffer: async () => bytes,
    }),
  );
}

/** Files by name have bytes under every name. */
const isPackage = (model: object): model is ModelPackage =>
  'manifest' in model && typeof model.manifest === 'string' && 'files' in model;

const tools = new Tools(instances, platform.reach);

/** Every mistake and every doubtful place of a policy file's text. After the first `createGuard`. */
export function lintPolicy(text: string, fileName?: string): Promise<Finding[]> {
  return tools.lintPolicy(text, fileName);
}

/** Reads a policy into an object. After the first `createGuard`. */
export function parsePolicy(source: PolicySource): Promise<PolicyObject> {
  return tools.parsePolicy(source);
}
