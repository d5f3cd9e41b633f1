/** What Node gives to run a model in a thread: the CPU build and bundles, read from the disk. */

import { readdir, readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, GuardError } from './errors.ts';
import { type Device, Instances } from './instance.ts';
import type { LocalParts } from './load.ts';
import { addressModel, bundleAddress, BUNDLED, type FileLike, filesModel, type Model } from './model/source.ts';
import type { WasmModule } from './wasm.ts';

/** A file of the package, on the disk. Bundlers of servers must leave it where it is: a copy of theirs lies without the files
 * that it needs, or where only browsers look. They follow `new URL('…', import.meta.url)`, but not this. */
export const beside = (path: string, here = import.meta.url): URL => new URL(path, here);

export const instances = new Instances({
  async glue(device: Device, n: number): Promise<WasmModule> {
    const { href } = beside(`wasm/${device}.js?${n}`);
    return import(/* webpackIgnore: true */ /* turbopackIgnore: true */ href) as Promise<WasmModule>;
  },
  async code(device: Device): Promise<WebAssembly.Module> {
    const bytes = await readFile(/* turbopackIgnore: true */ beside(`wasm/${device}.wasm`));
    return WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>);
  },
});

export const nodeParts = (fetch = globalThis.fetch): LocalParts => ({
  instances,
  gpu: false,
  async open({ model, cache, offline }, signal): Promise<Model> {
    if (model.kind === 'files') return filesModel(model.files);
    if (model.kind === 'bundled') return folderModel(beside(`model/${BUNDLED}/`));
    if (model.address.startsWith('file:')) return folderModel(bundleAddress(model.address).folder);
    return addressModel(model.address, { fetch, cache, offline, signal });
  },
});

/** A file's bytes, at most `most` of them; a pipe or a device, which may never end, is not read. */
export async function readRegular(url: URL, code: ErrorCode, most = Infinity): Promise<Uint8Array> {
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
