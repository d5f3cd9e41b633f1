/** What a browser gives to run a model in its own realm: the builds beside the code, and models from everywhere. */

import type { EngineSpec } from './engine.ts';
import { needsImport } from './imports.ts';
import { type Builds, compileFrom, type Device, Instances } from './instance.ts';
import type { LocalParts } from './load.ts';
import { addressModel, filesModel, type Model, packageModel } from './model/source.ts';
import type { WasmModule } from './wasm.ts';

/** Where the builds lie: in a copy at `assets`, or beside the code. Addresses beside the code are spelt out, which is how
 * bundlers find what to copy. Glue is fetched as a file of its own, never bundled: each copy (`?n`) is a module with an
 * instance of its own. */
const builds = (assets: string | undefined): Builds => ({
  async glue(device: Device, n: number): Promise<WasmModule> {
    needsImport();
    const beside = () =>
      device === 'cpu' ? new URL('./wasm/cpu.js', import.meta.url) : new URL('./wasm/webgpu.js', import.meta.url);
    const url = assets === undefined ? beside() : new URL(`wasm/${device}.js`, assets);
    if (n > 0) url.search = `?${n}`;
    return import(/* @vite-ignore */ /* webpackIgnore: true */ url.href) as Promise<WasmModule>;
  },
  code(device: Device): Promise<WebAssembly.Module> {
    const beside = () =>
      device === 'cpu' ? new URL('./wasm/cpu.wasm', import.meta.url) : new URL('./wasm/webgpu.wasm', import.meta.url);
    return compileFrom(assets === undefined ? beside() : new URL(`wasm/${device}.wasm`, assets));
  },
});

const places = new Map<string | undefined, Instances>();

/** The instances of the builds at a place; one glue serves all guards from there. */
export function instancesAt(assets?: string): Instances {
  const known = places.get(assets) ?? new Instances(builds(assets));
  places.set(assets, known);
  return known;
}

/** `fetch` is the caller's, where there is one. */
export function browserParts(
  { assets }: Pick<EngineSpec, 'assets'>,
  fetch: typeof globalThis.fetch = globalThis.fetch.bind(globalThis),
): LocalParts {
  return {
    instances: instancesAt(assets),
    gpu: true,
    open({ model, cache, offline }: EngineSpec, signal?: AbortSignal): Promise<Model> {
      const options = { fetch, cache, offline, signal };
      if (model.kind === 'files') return filesModel(model.files);
      return model.kind === 'package' ? packageModel(model, options) : addressModel(model.address, options);
    },
  };
}
