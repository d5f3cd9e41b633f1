/** A small static server for the demo page: right types, the page's content security policy, no cross-origin isolation.
 * `node scripts/serve.mjs [FOLDER] [--port N]` serves `dist/demo` and prints the address. */

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { basename, extname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.safetensors': 'application/octet-stream',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
  '.yaml': 'text/yaml; charset=utf-8',
};

/** What the page is allowed: its own origin, and compiling WASM. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "connect-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  // Revalidated each time, so that a rebuilt page is seen at once and an unchanged model is not sent again.
  'cache-control': 'no-cache',
};

const demoFolder = () => fileURLToPath(new URL('../dist/demo/', import.meta.url));

/** Serves the folder `root` on 127.0.0.1. `port` 0 takes a free one; `headers` (lower-case names) add to the defaults or
 * replace them, and `undefined` leaves one out.
 * @param {{root?: string, port?: number, headers?: Record<string, string | undefined>}} [options]
 * @returns {Promise<{url: string, close: () => Promise<void>}>} */
export async function serve({ root = demoFolder(), port = 0, headers = {} } = {}) {
  const sent = Object.fromEntries(Object.entries({ ...HEADERS, ...headers }).filter(([, value]) => value !== undefined));
  const server = createServer((request, response) => {
    answer(root, sent, request, response).catch((error) => {
      if (!response.headersSent) response.writeHead(500, { ...sent, 'content-type': TYPES['.txt'] });
      response.end(`${error.message}\n`);
    });
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(root, headers, request, response) {
  const refuse = (status, text) => response.writeHead(status, { ...headers, 'content-type': TYPES['.txt'] }).end(`${text}\n`);
  if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(405, 'Only GET and HEAD are served here.');
  const path = inside(root, request.url);
  if (path === undefined) return refuse(400, 'The path leaves the served folder.');
  const info = await stat(path).catch(() => undefined);
  const file = info?.isDirectory() ? join(path, 'index.html') : path;
  const found = info?.isDirectory() ? await stat(file).catch(() => undefined) : info;
  if (!found?.isFile()) return refuse(404, 'There is no such file.');
  const etag = `"${found.size.toString(16)}-${Math.round(found.mtimeMs).toString(16)}"`;
  const described = { ...headers, 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', etag };
  if (request.headers['if-none-match'] === etag) return response.writeHead(304, described).end();
  response.writeHead(200, { ...described, 'content-length': found.size });
  if (request.method === 'HEAD') return response.end();
  createReadStream(file).on('error', (error) => response.destroy(error)).pipe(response);
}

/** The file that an address names, or `undefined` if it lies outside of `root`. */
function inside(root, address) {
  let path;
  try {
    path = decodeURIComponent(new URL(address, 'http://localhost').pathname);
  } catch {
    return undefined;
  }
  const base = normalize(root.endsWith(sep) ? root : root + sep);
  const file = normalize(join(base, path));
  return path.includes('\0') || !file.startsWith(base) ? undefined : file;
}

async function main() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { port: { type: 'string', default: '8080' } } });
  const root = positionals[0] ?? demoFolder();
  if (!(await stat(join(root, 'index.html')).catch(() => undefined))) {
    console.error(`There is no page in ${root}. Build it first: npm run build`);
    process.exit(1);
  }
  try {
    const { url } = await serve({ root, port: Number(values.port) });
    console.log(`The demo page is at ${url}\nStop with Ctrl+C.`);
  } catch (error) {
    if (error.code !== 'EADDRINUSE') throw error;
    console.error(`Port ${values.port} is taken. Choose another one: --port 0 takes any that is free.`);
    process.exit(1);
  }
}

// By name, because a test that bundles this module shares its address with it.
if (basename(process.argv[1] ?? '') === 'serve.mjs') await main();
