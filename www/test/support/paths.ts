/** Where the tests find the real parts: the built packages and the native program. */

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/** The package's folder. Tests run as bundles, so a module's own address says nothing: the folder is looked for upwards
 * from where the run was started. */
export const www = packageFolder();
export const dist = resolve(process.env['RSAFE_DIST'] ?? join(www, 'dist'));

/** The folder of the package `rsafe-mini`, which the build fills. */
export const miniFolder = join(www, 'mini');

/** A file of the model, or an error that says how to get it. */
export function modelFile(name: string): string {
  const path = join(miniFolder, 'model', name);
  if (!existsSync(path)) throw new Error(`expected ${path}, which is not there; run \`npm run build\` in www first`);
  return path;
}

/** A built file, or an error that says how to build it. */
export function built(name: string): string {
  const path = join(dist, name);
  if (!existsSync(path)) throw new Error(`expected ${path}, which is not there; run \`npm run build\` in www first`);
  return path;
}

/** Whether the build left the GPU out (`npm run build -- --cpu-only`). */
export function cpuOnly(): boolean {
  built('wasm/cpu.wasm');
  return !existsSync(join(dist, 'wasm/webgpu.wasm'));
}

/** What a test that needs WebGPU gives node:test as `skip`: the reason, or false. */
export function withoutWebgpu(): string | false {
  return cpuOnly() ? 'this build was made --cpu-only: dist/wasm/webgpu.wasm is not there' : false;
}

/** The native program. Any build does: the debug one is what `cargo build` leaves. */
export function nativeProgram(): string {
  const path = resolve(process.env['RSAFE_BIN'] ?? join(www, '../target/debug/rsafe'));
  if (!existsSync(path)) {
    throw new Error(
      `expected the native program at ${path}, which is not there; ` +
        'run `cargo build --locked --bin rsafe` in the repository, or set RSAFE_BIN to one',
    );
  }
  return path;
}

function packageFolder(): string {
  for (let folder = process.cwd(); ; folder = dirname(folder)) {
    for (const candidate of [folder, join(folder, 'www')]) {
      const manifest = join(candidate, 'package.json');
      if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'rsafe') return candidate;
    }
    if (folder === dirname(folder))
      throw new Error(`expected to be run inside the repository, not in ${process.cwd()}`);
  }
}
