/** A web site on a free local port that can also misbehave: tear, corrupt, hold back or refuse what is asked for. */

import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createHash } from 'node:crypto';
import { extname, join, normalize } from 'node:path';

/** The only permissions that rsafe asks of a page's policy. */
export const STRICT_CSP =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

/** A request as the site saw it. */
export interface Seen {
  path: string;
  range: string | undefined;
  /** How many bytes of the body left. */
  sent: number;
  /** Settles when the answer is complete or its connection is gone. */
  closed: Promise<void>;
}

/** What becomes of one answer. */
export type Trouble =
  /** End the connection at this place of the file. A page may lose what it has not read by then. */
  | { kind: 'tear'; at: number }
  /** Turn one bit of the byte at this place. */
  | { kind: 'corrupt'; at: number }
  /** Answer with this status. */
  | { kind: 'status'; status: number }
  /** Send nothing from this place of the file on, until the client goes or `release` is called. */
  | { kind: 'hold'; at: number }
  /** Send all of it with 200, whatever range was asked for. */
  | { kind: 'no-range' };

export class Site {
  /** Every request, in order. */
  readonly seen: Seen[] = [];
  /** Header fields of each answer. */
  headers: Record<string, string> = {};
  #folders: [prefix: string, folder: string][] = [];
  #files = new Map<string, Uint8Array>();
  #types = new Map<string, string>();
  #trouble: { path: string; trouble: Trouble; times: number }[] = [];
  #held: (() => void)[] = [];
  #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy());
  });

  static async open(headers: Record<string, string> = {}): Promise<Site> {
    const site = new Site();
    site.headers = headers;
    await new Promise<void>((done) => site.#server.listen(0, '127.0.0.1', done));
    return site;
  }

  /** An address of this site. `localhost` counts as secure, so storage and WebGPU are there. */
  url(path: string): string {
    return `http://localhost:${(this.#server.address() as AddressInfo).port}${path}`;
  }

  /** Serves a folder under a prefix that ends with `/`. */
  mount(prefix: string, folder: string): this {
    this.#folders.unshift([prefix, folder]);
    return this;
  }

  /** Serves one file from memory; it comes before folders. Its `type` is told by its name, if nothing else is said. */
  put(path: string, content: string | Uint8Array, type?: string): this {
    if (type !== undefined) this.#types.set(path, type);
    this.#files.set(path, typeof content === 'string' ? Buffer.from(content) : content);
    return this;
  }

  /** Takes back what was put. */
  drop(path: string): void {
    this.#files.delete(path);
  }

  /** Makes the next answers for a path go wrong: `times` of them, `Infinity` for all. */
  trouble(path: string, trouble: Trouble, times = 1): void {
    this.#trouble.push({ path, trouble, times });
  }

  /** Lets go of what `hold` kept back. */
  release(): void {
    for (const go of this.#held.splice(0)) go();
  }

  /** Forgets troubles and requests. */
  reset(): void {
    this.release();
    this.#trouble = [];
    this.seen.length = 0;
  }

  /** The requests for one path. */
  asked(path: string): Seen[] {
    return this.seen.filter((request) => request.path === path);
  }

  async close(): Promise<void> {
    this.release();
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://site').pathname);
    const closed = new Promise<void>((done) => response.once('close', done));
    const seen: Seen = { path, range: request.headers.range, sent: 0, closed };
    this.seen.push(seen);

    const trouble = this.#next(path);
    const body = await this.#body(path);
    if (!body || trouble?.kind === 'status') {
      const status = trouble?.kind === 'status' ? trouble.status : 404;
      response.writeHead(status, { 'content-type': 'text/plain', ...this.headers }).end(`status ${status}`);
      return;
    }
    let bytes = body;
    if (trouble?.kind === 'corrupt') {
      bytes = Uint8Array.from(body);
      bytes[trouble.at] = bytes[trouble.at]! ^ 1;
    }
    const etag = `"${createHash('sha256').update(body).digest('hex').slice(0, 16)}"`;
    const range = trouble?.kind === 'no-range' ? undefined : parseRange(request.headers, bytes.length, etag);
    const [start, end] = range ?? [0, bytes.length];
    response.writeHead(range ? 206 : 200, {
      'content-type': this.#types.get(path) ?? TYPES[extname(path)] ?? 'application/octet-stream',
      'content-length': end - start,
      'accept-ranges': 'bytes',
      'cache-control': 'no-store',
      etag,
      ...(range && { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` }),
      ...this.headers,
    });
    if (request.method === 'HEAD') return void response.end();
    const part = bytes.subarray(start, end);
    if (trouble?.kind === 'tear' || trouble?.kind === 'hold') {
      const first = part.subarray(0, Math.max(0, trouble.at - start));
      response.flushHeaders();
      if (first.length > 0) await new Promise((done) => response.write(first, done));
      seen.sent = first.length;
      // Not `destroy`: a reset would take what was sent along.
      if (trouble.kind === 'tear') return void response.socket?.end();
      await Promise.race([closed, new Promise<void>((go) => this.#held.push(go))]);
      if (response.destroyed) return;
      response.end(part.subarray(first.length));
    } else {
      response.end(part);
    }
    seen.sent = part.length;
  }

  #next(path: string): Trouble | undefined {
    const entry = this.#trouble.find((candidate) => candidate.path === path && candidate.times > 0);
    if (entry) entry.times -= 1;
    return entry?.trouble;
  }

  async #body(path: string): Promise<Uint8Array | undefined> {
    const file = this.#files.get(path);
    if (file) return file;
    for (const [prefix, folder] of this.#folders) {
      if (!path.startsWith(prefix)) continue;
      const name = normalize(path.slice(prefix.length));
      if (!name.startsWith('..')) return readFile(join(folder, name)).catch(() => undefined);
    }
    return undefined;
  }
}

/** `bytes=N-` and `bytes=N-M`, as half-open; nothing if `If-Range` names another version. */
function parseRange(headers: IncomingMessage['headers'], size: number, etag: string): [number, number] | undefined {
  const match = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '');
  if (!match || (headers['if-range'] && headers['if-range'] !== etag)) return undefined;
  const start = Number(match[1]);
  const end = match[2] ? Math.min(Number(match[2]) + 1, size) : size;
  return start < end ? [start, end] : undefined;
}
