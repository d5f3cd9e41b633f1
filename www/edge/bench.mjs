/** Measures the worker in workerd as the package deploys it: size, cold start, time and CPU of a request, memory.
 * `npm run build && node edge/bench.mjs [requests]`. CPU and memory are the workerd process's own, from /proc (Linux). */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { Miniflare } from 'miniflare';

const www = dirname(dirname(fileURLToPath(import.meta.url)));
const requests = Number(process.argv[2] ?? 50);
const MIB = 1024 * 1024;
/** Of /proc/…/stat; the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

const wrangler = readFileSync(join(www, 'edge/wrangler.toml'), 'utf8');
const setting = (line) => JSON.parse(line.exec(wrangler)[1]);

/** As wrangler bundles it: the package by its own name, the compiled module left as an import. */
async function bundle() {
  const { outputFiles } = await build({
    absWorkingDir: www,
    entryPoints: ['test/edge-metered.ts'],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2023',
    conditions: ['workerd'],
    alias: { 'rsafe/cpu.wasm': './cpu.wasm' },
    external: ['./cpu.wasm'],
  });
  return outputFiles[0].text;
}

/** CPU milliseconds and resident bytes of the workerd processes that this one started. */
function usage() {
  let cpu = 0;
  let memory = 0;
  for (const pid of existsSync('/proc') ? readdirSync('/proc').filter((name) => /^\d+$/.test(name)) : []) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      if (!status.startsWith('Name:\tworkerd') || !status.includes(`\nPPid:\t${process.pid}\n`)) continue;
      memory += Number(/^VmRSS:\s+(\d+)/m.exec(status)[1]) * 1024;
      const [utime, stime] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ').slice(11, 13);
      cpu += ((Number(utime) + Number(stime)) * 1000) / TICKS_PER_SECOND;
    } catch {
      // The process ended while it was looked at.
    }
  }
  return { cpu, memory };
}

const script = await bundle();
const wasm = readFileSync(join(www, 'dist/wasm/cpu.wasm'));
const patient = { LOAD_MS: 600_000, CHECK_MS: 600_000 };
const worker = new Miniflare({
  modules: [
    { type: 'ESModule', path: 'index.js', contents: script },
    { type: 'CompiledWasm', path: 'cpu.wasm', contents: wasm },
  ],
  compatibilityDate: setting(/^compatibility_date = (".*")$/m),
  compatibilityFlags: setting(/^compatibility_flags = (.*)$/m),
  bindings: patient,
  assets: {
    directory: join(www, 'mini/model'),
    binding: 'ASSETS',
    routerConfig: { has_user_worker: true, invoke_user_worker_ahead_of_assets: true },
  },
});

const rows = [];
const note = (what, value, unit) => rows.push({ what, value: Math.round(value * 10) / 10, unit });

async function call(path, body) {
  const before = usage();
  const from = performance.now();
  const response = await worker.dispatchFetch(
    `http://edge${path}`,
    body ? { method: 'POST', body: JSON.stringify(body) } : {},
  );
  const text = await response.text();
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${text}`);
  return { wall: performance.now() - from, cpu: usage().cpu - before.cpu };
}

async function series(name, path, body) {
  const walls = [];
  let cpu = 0;
  for (let at = 0; at < requests; at++) {
    const took = await call(path, body(at));
    walls.push(took.wall);
    cpu += took.cpu;
  }
  walls.sort((a, b) => a - b);
  note(`${name}: median`, walls[Math.floor(walls.length / 2)], 'ms');
  note(`${name}: 95 %`, walls[Math.floor(walls.length * 0.95)], 'ms');
  note(`${name}: CPU a request`, cpu / requests, 'ms');
}

/** The instance's memory counts against the isolate's limit; the process has the compiled code and freed pages as well. */
async function memory(when) {
  const instances = await (await worker.dispatchFetch('http://edge/memory')).json();
  note(`memory of the instance ${when}`, instances.reduce((sum, bytes) => sum + bytes, 0) / MIB, 'MiB');
  note(`memory of the process ${when}, more than idle`, (usage().memory - idle) / MIB, 'MiB');
}

note('script, gzip', gzipSync(script).length / 1024, 'KiB');
note('compiled module, gzip', gzipSync(wasm).length / MIB, 'MiB');
await call('/healthz');
const idle = usage().memory;
const cold = await call('/v1/moderations', { input: 'How do I bake bread?' });
note('cold start: first answer', cold.wall, 'ms');
note('cold start: CPU', cold.cpu, 'ms');
await memory('with the model');
const short = (at) => `How do I bake bread that is soft inside, in round ${at}?`;
await series('short text', '/v1/moderations', (at) => ({ input: short(at) }));
await memory(`after ${requests} short texts`);
await series('300 words', '/v1/moderations', (at) => ({ input: `${short(at)} `.repeat(25) }));
await memory(`after ${requests} long texts`);
await worker.dispose();
console.table(rows);
