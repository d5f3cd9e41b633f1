/** Builds the package into `dist/`: the code, its types, the model, and the compiled core that `scripts/wasm.mjs` made;
 * and the demo page beside it, which is not packed.
 * Fails where a file is missing or larger than promised. `--cpu-only` allows for a missing WebGPU build. */

import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { buildDemo } from './demo.mjs';
import { packageNotices } from './notices.mjs';

const www = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(www, 'dist');
const cpuOnly = process.argv.includes('--cpu-only');

/** gzip bytes. */
const LIMITS = { js: 30_000, 'ai-sdk.js': 4_500, 'react.js': 4_000, 'cpu.wasm': 2_000_000, 'webgpu.wasm': 4_000_000 };

const model = 'rsafe-mini';
const modelFrom = join(www, '..', 'models', model);
const manifest = JSON.parse(readFileSync(join(modelFrom, 'manifest.json'), 'utf8'));

function clean() {
  mkdirSync(dist, { recursive: true });
  for (const name of readdirSync(dist)) if (name !== 'wasm') rmSync(join(dist, name), { recursive: true });
}

/** The manifest's text, after a look at whether `src/bundled.ts` names its files. */
function manifestText() {
  const source = readFileSync(join(www, 'src/bundled.ts'), 'utf8');
  for (const { name } of manifest.files) {
    if (!source.includes(`'./model/${model}/${name}'`)) throw new Error(`src/bundled.ts does not name ${name} of ${model}`);
  }
  return JSON.stringify(manifest);
}

/** Gives the files that went in. */
async function code() {
  const options = {
    absWorkingDir: www,
    outdir: dist,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['node:*', './wasm/*', 'react'],
    chunkNames: '[name]-[hash]',
    define: { RSAFE_MINI_MANIFEST: JSON.stringify(manifestText()) },
    logLevel: 'warning',
    metafile: true,
  };
  const entries = ['index', 'worker', 'node', 'node-worker', 'workerd', 'walk', 'react'].map((name) => `src/${name}.ts`);
  // An adapter is whole in itself: one that shared chunks with the package would change what a page loads of it.
  const builds = [{ entryPoints: entries, splitting: true }, { entryPoints: ['src/ai-sdk.ts'] }];
  const built = await Promise.all(builds.map((entry) => build({ ...options, ...entry })));
  for (const name of readdirSync(dist)) if (name.endsWith('.js')) keepImport(join(dist, name));
  return built.flatMap(({ metafile }) => Object.keys(metafile.inputs));
}

/** Minifying drops the comments that keep a user's bundler away from the import of the glue. */
function keepImport(path) {
  const source = readFileSync(path, 'utf8');
  writeFileSync(path, source.replace(/\bimport\((\w+\.href)\)/g, 'import(/* webpackIgnore: true *//* @vite-ignore */$1)'));
}

/** Declarations, one file each; `.ts` in an import is a source's, `.js` what a user's compiler resolves. */
function types() {
  const tsc = join(www, 'node_modules', 'typescript', 'bin', 'tsc');
  const options = ['--noEmit', 'false', '--emitDeclarationOnly', '--declaration', '--outDir', dist, '--rootDir', 'src'];
  const project = join(www, 'tsconfig.build.json');
  execFileSync(process.execPath, [tsc, '-p', project, ...options], { cwd: www, stdio: 'inherit' });
  for (const file of readdirSync(dist, { recursive: true })) {
    if (!file.endsWith('.d.ts')) continue;
    const path = join(dist, file);
    writeFileSync(path, readFileSync(path, 'utf8').replace(/(['"]\.{1,2}\/[^'"]+)\.ts(['"])/g, '$1.js$2'));
  }
}

/** Our licence, and those of what is compiled in. JavaScript of others is not: it would have to be named there, too. */
function licences(inputs) {
  const foreign = inputs.filter((input) => input.includes('node_modules/'));
  if (foreign.length > 0) throw new Error(`scripts/notices.mjs does not know the licence of ${foreign.join(', ')}`);
  copyFileSync(join(www, '..', 'LICENSE'), join(dist, 'LICENSE'));
  writeFileSync(join(dist, 'THIRD_PARTY_LICENSES'), packageNotices({ webgpu: !cpuOnly, manifest }));
}

function copyModel() {
  const to = join(dist, 'model', model);
  mkdirSync(to, { recursive: true });
  for (const name of ['manifest.json', ...manifest.files.map((file) => file.name)]) {
    copyFileSync(join(modelFrom, name), join(to, name));
  }
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

/** Sizes after gzip, those with a limit held to it. */
function report() {
  const gzip = (path) => gzipSync(readFileSync(path), { level: 9 }).length;
  const scripts = readdirSync(dist).filter((name) => name.endsWith('.js'));
  const builds = existsSync(join(dist, 'wasm')) ? readdirSync(join(dist, 'wasm')).filter((name) => /\.(js|wasm)$/.test(name)) : [];
  const rows = [];
  const add = (name, size, limit) => rows.push({ file: name, 'gzip bytes': size, limit: limit ?? '' });
  let total = 0;
  for (const name of scripts) {
    const size = gzip(join(dist, name));
    if (!(name in LIMITS)) total += size;
    add(name, size, LIMITS[name]);
  }
  let glue = 0;
  for (const name of builds) {
    const size = gzip(join(dist, 'wasm', name));
    if (name.endsWith('.js')) glue = Math.max(glue, size);
    add(`wasm/${name}`, size, LIMITS[name]);
  }
  add('all JavaScript but the glue', total, LIMITS.js);
  const elsewhere = ['node.js', 'node-worker.js', 'workerd.js', 'walk.js'].reduce((sum, name) => sum + gzip(join(dist, name)), 0);
  add('what a page loads of it, with the larger glue', total - elsewhere + glue);
  for (const name of readdirSync(join(dist, 'model', model))) {
    add(`model/${model}/${name} (as it is)`, statSync(join(dist, 'model', model, name)).size);
  }
  console.table(rows);
  const over = rows.filter((row) => row.limit !== '' && row['gzip bytes'] > row.limit);
  if (over.length > 0) throw new Error(`larger than promised: ${over.map((row) => row.file).join(', ')}`);
}

clean();
licences(await code());
types();
copyModel();
core();
report();
await buildDemo();
