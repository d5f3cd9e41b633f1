/** What `scripts/build.mjs` holds the built package to, in bytes after gzip. */

import { existsSync } from 'node:fs';

const gzip = true;
const beside = '!dist/{walk,held,fetch,ai-sdk,react}.js';
const webgpu = new URL('dist/wasm/webgpu.wasm', import.meta.url);

export default [
  { name: "the guard's JavaScript but the glue", path: ['dist/*.js', beside], gzip, limit: '30 kB' },
  {
    name: 'what a page loads of it, with the glue of the CPU build',
    path: ['dist/*.js', beside, '!dist/{node,node-*,workerd}.js', 'dist/wasm/cpu.js'],
    gzip,
    limit: '30 kB',
  },
  { name: 'rsafe/fetch', path: 'dist/fetch.js', gzip, limit: '12.5 kB' },
  { name: 'rsafe/ai-sdk', path: 'dist/ai-sdk.js', gzip, limit: '4.5 kB' },
  { name: 'rsafe/react', path: 'dist/react.js', gzip, limit: '2 kB' },
  {
    name: 'cpu.wasm, with the tokenizer',
    path: ['dist/wasm/cpu.wasm', 'mini/model/tokenizer.json'],
    gzip,
    limit: '2 MB',
  },
  // A build --cpu-only has none.
  ...(existsSync(webgpu) ? [{ name: 'webgpu.wasm', path: 'dist/wasm/webgpu.wasm', gzip, limit: '4 MB' }] : []),
];
