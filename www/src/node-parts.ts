/** What Node gives to run a model in a thread: the CPU build and bundles, read from the disk. */

import { readdir, readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, GuardError } from './errors.ts';
import { type Device, Instances } from './instance.ts';
import type { LocalParts } from './load.ts';
import {
  addressIn,
  addressModel,
  bundleAddress,
  type FileLike,
  filesModel,
  type Model,
  packageModel,
} from './model/source.ts';
import { MANIFEST, parseManifest } from './model/manifest.ts';
import type { ModelPackage } from './types.ts';
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
  withoutGpu: 'there is no WebGPU here',
  async open({ model, cache, offline }, signal): Promise<Model> {
    if (model.kind === 'files') return filesModel(model.files);
    if (model.kind === 'package') {
      const onDisk = Object.values(model.files).every((address) => address.startsWith('file:'));
      return onDisk ? diskModel(model) : packageModel(model, { fetch, cache, offline, signal });
    }
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

/** The files of a package, where it is installed. */
async function diskModel(given: ModelPackage): Promise<Model> {
  const content = new TextEncoder().encode(given.manifest);
  const { files } = parseManifest(content);
  const manifest = { name: MANIFEST, size: content.length, content };
  const listed = files.map(({ name, size }): FileLike => {
    const url = new URL(addressIn(given, name));
    return { name, size, arrayBuffer: () => readRegular(url, 'bad_model') };
  });
  return filesModel([manifest, ...listed]);
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
