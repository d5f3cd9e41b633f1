/** What a browser gives to run a model in its own realm: the builds beside the code, and models from everywhere. */

import { bundled } from './bundled.ts';
import type { EngineSpec } from './engine.ts';
import { type Builds, compileFrom, type Device, Instances } from './instance.ts';
import type { LocalParts } from './load.ts';
import { addressModel, bundledModel, filesModel, type Model } from './model/source.ts';
import type { WasmModule } from './wasm.ts';

/** Glue is fetched as a file of its own, never bundled: each copy (`?n`) is a module with an instance of its own. */
const builds: Builds = {
  async glue(device: Device, n: number): Promise<WasmModule> {
    const url =
      device === 'cpu' ? new URL('./wasm/cpu.js', import.meta.url) : new URL('./wasm/webgpu.js', import.meta.url);
    if (n > 0) url.search = `?${n}`;
    return import(/* @vite-ignore */ /* webpackIgnore: true */ url.href) as Promise<WasmModule>;
  },
  code(device: Device): Promise<WebAssembly.Module> {
    return compileFrom(
      device === 'cpu' ? new URL('./wasm/cpu.wasm', import.meta.url) : new URL('./wasm/webgpu.wasm', import.meta.url),
    );
  },
};

export const instances = new Instances(builds);

/** `fetch` is the caller's, where there is one. */
export function browserParts(fetch: typeof globalThis.fetch = globalThis.fetch.bind(globalThis)): LocalParts {
  return {
    instances,
    gpu: true,
    open({ model, cache, offline }: EngineSpec, signal?: AbortSignal): Promise<Model> {
      const options = { fetch, cache, offline, signal };
      if (model.kind === 'files') return filesModel(model.files);
      return model.kind === 'bundled' ? bundledModel(bundled, options) : addressModel(model.address, options);
    },
  };
}
