/** Compiles the Rust crate to `dist/wasm/{cpu,webgpu}.{wasm,js}`: cargo, the wasm-bindgen that Cargo.lock pins, wasm-opt.
 *
 * `node scripts/wasm.mjs [cpu] [webgpu]`, both builds by default. Build outputs and the wasm-bindgen tool are kept in
 * cargo's target folder.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
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

function run(command, args, env = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (result.error?.code === 'ENOENT')
    throw new Error(`${command} is not installed; \`make tools\` says how to get it`);
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${result.status ?? result.signal}`);
}

/** The wasm-bindgen of the version that the crate is compiled against: any other refuses to work. */
function bindgen() {
  const lock = readFileSync(join(root, 'Cargo.lock'), 'utf8');
  const version = /name = "wasm-bindgen"\nversion = "(.+)"/.exec(lock)?.[1];
  if (!version) throw new Error('Cargo.lock names no wasm-bindgen');
  const folder = join(target, `tools/wasm-bindgen-${version}`);
  const tool = join(folder, 'bin/wasm-bindgen');
  if (!existsSync(tool)) {
    run('cargo', ['install', 'wasm-bindgen-cli', '--version', version, '--root', folder, '--no-track'], {
      CARGO_TARGET_DIR: join(target, 'tools/build'),
    });
  }
  return tool;
}

function compile(features) {
  run(
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

async function make(name) {
  const compiled = compile(builds[name]);
  const bound = join(target, `wasm-bindgen/${name}`);
  rmSync(bound, { recursive: true, force: true });
  run(bindgen(), [
    '--target',
    'web',
    '--no-typescript',
    '--experimental-reset-state-function',
    '--omit-default-module-path',
    '--out-dir',
    bound,
    '--out-name',
    name,
    compiled,
  ]);
  mkdirSync(out, { recursive: true });
  const wasm = join(out, `${name}.wasm`);
  const raw = join(bound, `${name}_bg.wasm`);
  run(process.execPath, [
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
for (const name of names.length ? names : Object.keys(builds)) await make(name);
