/** rsafe in Node: the CPU build and the bundled model, read from the package's files. A check occupies the thread while
 * it computes; a server that must answer meanwhile runs its guard in a `worker_threads` worker. */

import { readdir, readFile, stat } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type ErrorCode, GuardError } from './errors.ts';
import { openGuard, type Platform } from './guard.ts';
import { type Device, Instances } from './instance.ts';
import type { LocalParts } from './load.ts';
import { LocalEngine } from './local.ts';
import { addressModel, bundleAddress, BUNDLED, type FileLike, filesModel, type Model } from './model/source.ts';
import { fields } from './plain.ts';
import type { Reach } from './policy.ts';
import { clearCache as clear } from './store.ts';
import { Tools } from './tools.ts';
import type { Finding, Guard, GuardOptions, PolicyObject, PolicySource } from './types.ts';
import type { WasmModule } from './wasm.ts';

export { isSupported } from './device.ts';
export { type ErrorCode, GuardError } from './errors.ts';
export { builtinPolicies } from './policy.ts';
export { cacheStatus } from './store.ts';
export type * from './types.ts';

const instances = new Instances({
  async glue(device: Device, n: number): Promise<WasmModule> {
    const url = new URL(`./wasm/${device}.js?${n}`, import.meta.url);
    return import(url.href) as Promise<WasmModule>;
  },
  async code(device: Device): Promise<WebAssembly.Module> {
    const bytes = await readFile(new URL(`./wasm/${device}.wasm`, import.meta.url));
    return WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>);
  },
});

const base = () => pathToFileURL(`${process.cwd()}/`).href;
const reach = (fetch = globalThis.fetch): Reach => ({
  fetch,
  base: base(),
  readFile: (url, most) => readRegular(url, 'bad_policy', most),
});

const parts = (fetch = globalThis.fetch): LocalParts => ({
  instances,
  gpu: false,
  async open({ model, cache, offline }, signal): Promise<Model> {
    if (model.kind === 'files') return filesModel(model.files);
    if (model.kind === 'bundled') return folderModel(new URL(`./model/${BUNDLED}/`, import.meta.url));
    if (model.address.startsWith('file:')) return folderModel(bundleAddress(model.address).folder);
    return addressModel(model.address, { fetch, cache, offline, signal });
  },
});

/** A file's bytes, at most `most` of them; a pipe or a device, which may never end, is not read. */
async function readRegular(url: URL, code: ErrorCode, most = Infinity): Promise<Uint8Array> {
  const found = await stat(url);
  const path = fileURLToPath(url);
  if (!found.isFile()) throw new GuardError(code, `${path}: expected a regular file but found something else`);
  if (found.size > most) throw new GuardError(code, `${path}: expected at most ${most} bytes but found ${found.size}`);
  return readFile(url);
}

/** A bundle on the disk. */
async function folderModel(folder: URL): Promise<Model> {
  const path = fileURLToPath(folder);
  const names = await readdir(path).catch((error: unknown) => {
    throw new GuardError('bad_model', `expected a bundle's folder but ${path} cannot be read: ${String(error)}`);
  });
  const file = async (name: string): Promise<FileLike> => ({
    name,
    size: (await stat(new URL(name, folder))).size,
    arrayBuffer: () => readRegular(new URL(name, folder), 'bad_model'),
  });
  return filesModel(await Promise.all(names.map(file)));
}

/** Loads a model and gives a guard, on the CPU. Relative addresses are relative to the working directory.
 *
 * @throws GuardError e.g. `network`, `integrity`, `bad_model`, `bad_policy`, `self_test`, `aborted`. */
export async function createGuard(given: GuardOptions = {}): Promise<Guard> {
  const options = fields('the options', given);
  const platform: Platform = {
    reach: reach(options.fetch),
    bundled: true,
    connect: (spec, hooks) => LocalEngine.load(parts(options.fetch), spec, hooks),
  };
  return openGuard(options, platform);
}

let tools: Tools | undefined;
const policyTools = () => (tools ??= new Tools(instances, reach()));

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
export function clearCache(model?: string | URL): Promise<void> {
  if (model === undefined || model === BUNDLED) return clear(model);
  return clear(bundleAddress(new URL(model, base()).href).folder.href);
}
