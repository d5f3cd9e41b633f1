/** Serves the demo page under its content security policy, without cross-origin isolation.
 * `node scripts/serve.mjs [FOLDER] [--port N] [--behind COMMAND]` serves `dist/demo` and prints the address. The command is
 * what the page still waits for: it runs while the page is served, and ends with the server. */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import sirv from 'sirv';

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

const HEADERS = new Headers({
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
});

const demoFolder = fileURLToPath(new URL('../dist/demo/', import.meta.url));

/** A running server.
 * @typedef {{url: string, close: () => Promise<void>}} Served */

/** Serves the folder `root` on 127.0.0.1. `port` 0 takes a free one.
 * @param {{root?: string, port?: number}} [options]
 * @returns {Promise<Served>} */
export async function serve({ root = demoFolder, port = 0 } = {}) {
  // Looked for and revalidated each time: a rebuilt page is seen at once, and an unchanged model is not sent again.
  const files = sirv(root, { dev: true, etag: true });
  const server = createServer((request, response) => {
    // sirv would not ask whether the file is still the one of which a part is wanted.
    delete request.headers.range;
    files(request, response.setHeaders(HEADERS));
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

/** How much of what a command said is told where it fails. */
const TOLD = 8_000;

/** Runs a shell's command in a process group of its own, which ends with this process. */
function runBehind(command) {
  const child = spawn(command, { shell: true, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said = (said + text).slice(-TOLD)));
  const stop = () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid);
  };
  process.once('exit', stop);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
  child.once('close', (status) => {
    if (status === 0) console.log('What was built behind the page is there: load the page again.');
    else console.error(`${said}\nWhat was built behind the page failed, as above.`);
  });
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { port: { type: 'string', default: '8080' }, behind: { type: 'string' } },
  });
  const root = positionals[0] ?? demoFolder;
  if (!existsSync(join(root, 'index.html'))) {
    console.error(`There is no page in ${root}. Build it first: npm run build`);
    process.exit(1);
  }
  try {
    const { url } = await serve({ root, port: Number(values.port) });
    console.log(`The demo page is at ${url}\nStop with Ctrl+C.`);
    if (values.behind !== undefined) runBehind(values.behind);
  } catch (error) {
    if (error.code !== 'EADDRINUSE') throw error;
    console.error(`Port ${values.port} is taken. Choose another one: --port 0 takes any that is free.`);
    process.exit(1);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
