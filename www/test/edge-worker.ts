/** The worker in real workerd: bundled as wrangler would, with the guard that a test wants. */

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';
import { Miniflare, type MiniflareOptions } from 'miniflare';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const EMPTY_MODULE = new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);

const wrangler = readFileSync(here('../edge/wrangler.toml'), 'utf8');
/** A value of wrangler.toml: what is tested is what is deployed. These values are JSON as well. */
const setting = (line: RegExp) => JSON.parse(line.exec(wrangler)?.[1] ?? 'null');

export interface Bundle {
  script: string;
  wasm: Uint8Array;
}

/** The worker with a guard that decides by words. */
export async function fakeBundle(): Promise<Bundle> {
  return {
    script: await bundle('../edge/src/index.ts', here('../test/edge-fake-guard.ts'), (name) =>
      here(`../src/${name}.ts`),
    ),
    wasm: EMPTY_MODULE,
  };
}

/** The worker with the package's own guard and module, and with `/memory`. */
export async function realBundle(): Promise<Bundle> {
  const wasm = await readFile(here('../dist/wasm/cpu.wasm'));
  return {
    script: await bundle('../test/edge-metered.ts', here('../dist/workerd.js'), (name) => here(`../dist/${name}.js`)),
    wasm,
  };
}

/** `part` says where a part of the package lies. */
async function bundle(entry: string, guard: string, part: (name: string) => string): Promise<string> {
  const result = await build({
    entryPoints: [here(entry)],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2023',
    conditions: ['workerd'],
    alias: {
      'rsafe/workerd': guard,
      'rsafe/walk': part('walk'),
      'rsafe/held': part('held'),
      'rsafe/cpu.wasm': './cpu.wasm',
    },
    external: ['./cpu.wasm'],
    logLevel: 'error',
  });
  return result.outputFiles[0]?.text ?? '';
}

/** `bindings` are the worker's variables; `assets` a folder, or what answers in its place. */
export function serve(
  { script, wasm }: Bundle,
  bindings: Record<string, string | number>,
  assets: string | ((request: Request) => Response | Promise<Response>),
): Miniflare {
  const options: MiniflareOptions = {
    modules: [
      { type: 'ESModule', path: 'index.js', contents: script },
      { type: 'CompiledWasm', path: 'cpu.wasm', contents: wasm },
    ],
    compatibilityDate: setting(/^compatibility_date = (".*")$/m),
    compatibilityFlags: setting(/^compatibility_flags = (.*)$/m),
    bindings,
    ...(typeof assets === 'string'
      ? {
          assets: {
            directory: assets,
            binding: 'ASSETS',
            routerConfig: { has_user_worker: true, invoke_user_worker_ahead_of_assets: true },
          },
        }
      : { serviceBindings: { ASSETS: assets as never } }),
  };
  return new Miniflare(options);
}
