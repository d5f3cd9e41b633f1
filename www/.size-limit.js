/** What `scripts/build.mjs` holds the built package to, in bytes after gzip. */

import { existsSync } from 'node:fs';

const gzip = true;
const webgpu = new URL('dist/wasm/webgpu.wasm', import.meta.url);

export default [
  { name: 'all JavaScript but the glue', path: 'dist/*.js', gzip, limit: '30 kB' },
  {
    name: 'what a page loads of it, with the glue of the CPU build',
    path: ['dist/*.js', '!dist/{node,node-*,workerd,walk}.js', 'dist/wasm/cpu.js'],
    gzip,
    limit: '30 kB',
  },
  {
    name: 'cpu.wasm, with the tokenizer',
    path: ['dist/wasm/cpu.wasm', 'dist/model/rsafe-mini/tokenizer.json'],
    gzip,
    limit: '2 MB',
  },
  // A build --cpu-only has none.
  ...(existsSync(webgpu) ? [{ name: 'webgpu.wasm', path: 'dist/wasm/webgpu.wasm', gzip, limit: '4 MB' }] : []),
];
