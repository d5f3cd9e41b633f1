/** Builds the packages. `rsafe` into `dist/`: the code with its maps, a file of types for each entry, and the compiled core that
 * `scripts/wasm.mjs` made; and the demo page beside it, which is not packed. `rsafe-mini` in `mini/`: the files of the model.
 * Fails where a file is missing or larger than promised. `--cpu-only` allows for a missing WebGPU build, and `--webgpu-later`
 * for one that is being made while the page is served. */

import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';
import { dts } from 'rolldown-plugin-dts';
import { buildDemo } from './demo.mjs';
import { modelNotice, packageNotices } from './notices.mjs';

/** The entries of the guard, each a file of `src/`. One that users import has its line in package.json's `exports`, too. */
const GUARD = ['index', 'worker', 'node', 'node-worker', 'workerd', 'react'];

/** What stands beside it, each in one piece: what they shared with the guard would make that larger for all pages. */
const BESIDE = ['walk', 'held', 'fetch', 'ai-sdk', 'webgpu'];

/** What the guard's entries share, in two files: what runs a model, where that is, and what its caller has. The modules named here take
 * along what they import. */
const SHARED = [
  { name: 'engine', test: /src\/(local|serve|model\/source)\.ts$/ },
  { name: 'caller', test: /src\/(guard|remote|tools|model\/installed)\.ts$/ },
];

const www = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(www, 'dist');
const webgpuLater = process.argv.includes('--webgpu-later');
const cpuOnly = webgpuLater || process.argv.includes('--cpu-only');

const mini = join(www, 'mini');
const modelFrom = join(www, '..', 'models/rsafe-mini');
const manifest = JSON.parse(readFileSync(join(modelFrom, 'manifest.json'), 'utf8'));
const { dependencies, exports, peerDependencies } = JSON.parse(readFileSync(join(www, 'package.json'), 'utf8'));

/** A guard can be disposed of by `await using`, which the libraries of older targets do not know. */
const NEEDED_LIBRARY = '/// <reference lib="esnext.disposable" preserve="true" />';

function clean() {
  mkdirSync(dist, { recursive: true });
  // The page may be served meanwhile; it is replaced at the end.
  const kept = ['wasm', 'demo'];
  for (const name of readdirSync(dist)) if (!kept.includes(name)) rmSync(join(dist, name), { recursive: true });
}

/** Gives the files that went in. */
async function code() {
  const guard = await bundle(GUARD, { chunkFileNames: '[name]-[hash].js', codeSplitting: { groups: SHARED } });
  // A bundler knows without being told that a `new Map` does nothing else.
  const beside = await Promise.all(BESIDE.map((name) => bundle([name], { comments: { annotation: false } })));
  return [guard, ...beside].flat();
}

/** What is not compiled in. */
function outside(id) {
  const packages = Object.keys({ ...dependencies, ...peerDependencies });
  return /^node:|\/wasm\/cpu\.js$/.test(id) || packages.some((name) => id === name || id.startsWith(`${name}/`));
}

async function bundle(entries, files) {
  const { output } = await build({
    cwd: www,
    input: Object.fromEntries(entries.map((name) => [name, `src/${name}.ts`])),
    platform: 'neutral',
    external: outside,
    transform: { target: 'es2022' },
    output: { dir: dist, minify: true, sourcemap: true, ...files },
  });
  return output.flatMap(({ moduleIds = [] }) => moduleIds);
}

/** The types that package.json promises, each in one piece: nobody sees the files that they are made of. */
async function types() {
  const apart = mkdtempSync(join(tmpdir(), 'rsafe-types-'));
  try {
    tool('typescript/bin/tsc', '--project', 'tsconfig.build.json', '--outDir', apart);
    await Promise.all(promised(exports).map((file) => rollUp(apart, basename(file, '.d.ts'))));
  } finally {
    rmSync(apart, { recursive: true });
  }
}

/** Every file that stands under `types`. */
function promised(entry) {
  const nested = Object.values(entry).filter((value) => typeof value === 'object');
  return [...new Set([...('types' in entry ? [entry.types] : []), ...nested.flatMap(promised)])];
}

async function rollUp(folder, name) {
  await build({
    input: { [name]: join(folder, `${name}.d.ts`) },
    external: outside,
    // The compiler has written the declarations; an emitter is asked for all the same.
    plugins: [dts({ dtsInput: true, oxc: true, tsconfig: false })],
    output: { dir: dist, postBanner: NEEDED_LIBRARY },
    // No names of temporary folders.
    experimental: { attachDebugInfo: 'none' },
    checks: { pluginTimings: false },
  });
}

/** A script of the package's tools, run as `npx` would. */
function tool(path, ...args) {
  execFileSync(process.execPath, [join(www, 'node_modules', path), ...args], { cwd: www, stdio: 'inherit' });
}

/** Our licence, and those of what is compiled in. JavaScript of others is not: it would have to be named there, too. */
function licences(inputs) {
  const foreign = inputs.filter((input) => input.includes('node_modules/'));
  if (foreign.length > 0) throw new Error(`scripts/notices.mjs does not know the licence of ${foreign.join(', ')}`);
  // With the packages, and with a copy of `dist`.
  for (const folder of [www, dist, mini]) copyFileSync(join(www, '..', 'LICENSE'), join(folder, 'LICENSE'));
  writeFileSync(join(dist, 'THIRD_PARTY_LICENSES'), packageNotices({ webgpu: !cpuOnly }));
}

/** The bundle, and its manifest as a module, too. */
function model() {
  const to = join(mini, 'model');
  rmSync(to, { recursive: true, force: true });
  mkdirSync(to);
  for (const name of ['manifest.json', ...manifest.files.map((file) => file.name)])
    copyFileSync(join(modelFrom, name), join(to, name));
  writeFileSync(join(to, 'manifest.js'), `export default ${JSON.stringify(JSON.stringify(manifest))};\n`);
  writeFileSync(join(mini, 'NOTICE'), modelNotice(manifest));
}

/** The compiled core is there, and comes in pairs. */
function core() {
  for (const build of cpuOnly ? ['cpu'] : ['cpu', 'webgpu']) {
    for (const file of [`wasm/${build}.js`, `wasm/${build}.wasm`]) {
      if (existsSync(join(dist, file))) continue;
      const otherwise = build === 'webgpu' ? ', or build with --cpu-only' : '';
      throw new Error(`dist/${file} is missing: run \`node scripts/wasm.mjs ${build}\` first${otherwise}`);
    }
  }
}

clean();
licences(await code());
await types();
model();
core();
tool('size-limit/bin.js');
await buildDemo({ webgpuLater });
