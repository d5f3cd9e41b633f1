/** What Node gives to run a model in a thread: the CPU build and bundles, read from the disk. */

import { readdir, readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { GuardError } from './errors.ts';
import { type Device, Instances } from './instance.ts';
import type { LocalParts } from './load.ts';
import { addressModel, bundleAddress, BUNDLED, type FileLike, filesModel, type Model } from './model/source.ts';
import type { WasmModule } from './wasm.ts';

export const instances = new Instances({
  async glue(device: Device, n: number): Promise<WasmModule> {
    const url = new URL(`./wasm/${device}.js?${n}`, import.meta.url);
    return import(url.href) as Promise<WasmModule>;
  },
  async code(device: Device): Promise<WebAssembly.Module> {
    const bytes = await readFile(new URL(`./wasm/${device}.wasm`, import.meta.url));
    return WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>);
  },
});

export const nodeParts = (fetch = globalThis.fetch): LocalParts => ({
  instances,
  gpu: false,
  async open({ model, cache, offline }, signal): Promise<Model> {
    if (model.kind === 'files') return filesModel(model.files);
    if (model.kind === 'bundled') return folderModel(new URL(`./model/${BUNDLED}/`, import.meta.url));
    if (model.address.startsWith('file:')) return folderModel(bundleAddress(model.address).folder);
    return addressModel(model.address, { fetch, cache, offline, signal });
  },
});

/** A bundle on the disk. */
async function folderModel(folder: URL): Promise<Model> {
  const path = fileURLToPath(folder);
  const names = await readdir(path).catch((error: unknown) => {
    throw new GuardError('bad_model', `expected a bundle's folder but ${path} cannot be read: ${String(error)}`);
  });
  const file = async (name: string): Promise<FileLike> => ({
    name,
    size: (await stat(new URL(name, folder))).size,
    arrayBuffer: () => readFile(new URL(name, folder)),
  });
  return filesModel(await Promise.all(names.map(file)));
}
