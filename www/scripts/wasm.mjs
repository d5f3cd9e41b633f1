/** Compiles the Rust crate to `dist/wasm/{cpu,webgpu}.{wasm,js}`: cargo, wasm-bindgen (`bindgen/`, built while the crate
 * compiles), wasm-opt.
 *
 * `node scripts/wasm.mjs [cpu] [webgpu]`, both builds by default. Build outputs are kept in cargo's target folder.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const www = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const root = resolve(www, '..');
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
const out = join(www, 'dist/wasm');

const builds = { cpu: 'cpu,web', webgpu: 'webgpu,web' };

/** What WebAssembly may use that every current browser, workerd and Node 20 have. */
const wasmFeatures = [
  'simd',
  'bulk-memory',
  'sign-ext',
  'mutable-globals',
  'nontrapping-float-to-int',
  'reference-types',
  'multivalue',
].map((feature) => `--enable-${feature}`);

async function run(command, args, env = {}) {
  const child = spawn(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  const [status, signal] = await once(child, 'close').catch((error) => {
    if (error.code !== 'ENOENT') throw error;
    throw new Error(`${command} is not installed; \`make tools\` says how to get it`);
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status ?? signal}`);
}

/** The program of `bindgen/`: the same Cargo.lock pins it and the wasm-bindgen of the crate, which must be of one version. */
async function bindgen() {
  const args = ['build', '--locked', '--profile', 'tool', '--package', 'rsafe-bindgen'];
  await run('cargo', args, { CARGO_TARGET_DIR: target });
  return join(target, 'tool/rsafe-bindgen');
}

async function compile(features) {
  await run(
    'cargo',
    [
      'rustc',
      '--locked',
      '--lib',
      '--crate-type',
      'cdylib',
      '--profile',
      'wasm',
      '--target',
      'wasm32-unknown-unknown',
      '--no-default-features',
      '--features',
      features,
    ],
    {
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS: '-C target-feature=+simd128 --cfg getrandom_backend="wasm_js"',
      CARGO_TARGET_DIR: target,
    },
  );
  return join(target, 'wasm32-unknown-unknown/wasm/rsafe.wasm');
}

async function make(name, tool) {
  const compiled = await compile(builds[name]);
  const bound = join(target, `wasm-bindgen/${name}`);
  rmSync(bound, { recursive: true, force: true });
  await run(await tool, [compiled, bound, name]);
  mkdirSync(out, { recursive: true });
  const wasm = join(out, `${name}.wasm`);
  const raw = join(bound, `${name}_bg.wasm`);
  await run(process.execPath, [
    join(www, 'node_modules/binaryen/bin/wasm-opt'),
    '-Os',
    ...wasmFeatures,
    '--strip-producers',
    raw,
    '-o',
    wasm,
  ]);
  await build({
    entryPoints: [join(bound, `${name}.js`)],
    outfile: join(out, `${name}.js`),
    minify: true,
    format: 'esm',
  });
  for (const file of [wasm, join(out, `${name}.js`)]) {
    const gzip = gzipSync(readFileSync(file), { level: 9 }).length;
    console.log(`${file.slice(www.length + 1)}  ${statSync(file).size} bytes, ${gzip} gzip`);
  }
}

const names = process.argv.slice(2);
for (const name of names) {
  if (!(name in builds)) throw new Error(`no build is named ${name}; expected ${Object.keys(builds).join(' or ')}`);
}
const tool = bindgen();
// Waited for when the first build needs it; until then, its failure is nobody's.
tool.catch(() => {});
for (const name of names.length ? names : Object.keys(builds)) await make(name, tool);
