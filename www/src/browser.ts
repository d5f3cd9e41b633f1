/** What a browser gives to run a model in its own realm: the builds beside the code, and models from everywhere. */

import type { EngineSpec } from './engine.ts';
import { GuardError } from './errors.ts';
import { needsImport } from './imports.ts';
import { type Builds, compileFrom, type Device, Instances } from './instance.ts';
import type { LocalParts } from './load.ts';
import { addressModel, filesModel, type Model, packageModel } from './model/source.ts';
import type { WebgpuBuild } from './types.ts';
import type { WasmModule } from './wasm.ts';

const NO_BUILD =
  'the build for WebGPU is not in this app; ' + "import webgpu from 'rsafe/webgpu' and pass `webgpu` to have it";

const CHANGED =
  "is no longer the package's own, a bundler has changed it; " +
  "serve a copy of the package's dist folder and give its address as `assets`";

/** A place that builds are taken from: a copy at `assets`, or beside the code. */
interface Place {
  instances: Instances;
  /** The caller's, absent where it is in the copy or nobody has asked for it. */
  webgpu?: WebgpuBuild | undefined;
}

const places = new Map<string | undefined, Place>();

/** Addresses beside the code are spelt out, which is how bundlers find what to copy. Glue is fetched as a file of its own, never
 * bundled: each copy (`?n`) is a module with an instance of its own. */
function placeAt(assets: string | undefined): Place {
  const known = places.get(assets);
  if (known) return known;
  const address = (device: Device, part: keyof WebgpuBuild, beside: () => URL): URL => {
    if (device === 'webgpu' && place.webgpu) return new URL(place.webgpu[part]);
    return assets === undefined ? beside() : new URL(`wasm/${device}.${part === 'glue' ? 'js' : 'wasm'}`, assets);
  };
  const builds: Builds = {
    async glue(device: Device, n: number): Promise<WasmModule> {
      needsImport();
      const url = address(device, 'glue', () => new URL('./wasm/cpu.js', import.meta.url));
      if (n > 0) url.search = `?${n}`;
      const glue = (await import(/* @vite-ignore */ /* webpackIgnore: true */ url.href)) as WasmModule;
      // Parcel makes a script of it, without exports.
      if (typeof glue.default !== 'function') throw new GuardError('unsupported', `${url.href} ${CHANGED}`);
      return glue;
    },
    code: (device: Device) => compileFrom(address(device, 'code', () => new URL('./wasm/cpu.wasm', import.meta.url))),
  };
  const place: Place = { instances: new Instances(builds) };
  places.set(assets, place);
  return place;
}

/** The instances of the builds at a place; one glue serves all guards from there. */
export function instancesAt(assets?: string): Instances {
  return placeAt(assets).instances;
}

/** `fetch` is the caller's, where there is one. */
export function browserParts(
  { assets, webgpu }: Pick<EngineSpec, 'assets' | 'webgpu'>,
  fetch: typeof globalThis.fetch = globalThis.fetch.bind(globalThis),
): LocalParts {
  const place = placeAt(assets);
  place.webgpu ??= webgpu;
  return {
    instances: place.instances,
    ...(assets === undefined && !webgpu && { withoutGpu: NO_BUILD }),
    open({ model, cache, offline }: EngineSpec, signal?: AbortSignal): Promise<Model> {
      const options = { fetch, cache, offline, signal };
      if (model.kind === 'files') return filesModel(model.files);
      return model.kind === 'package' ? packageModel(model, options) : addressModel(model.address, options);
    },
  };
}
