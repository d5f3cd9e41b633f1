/** A stub of the model behind the worker: a real HTTP server that says what a test tells it to. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  method: string;
  path: string;
  /** The body as it came, and read. */
  text: string;
  body: Record<string, unknown>;
  headers: IncomingMessage['headers'];
}

export class StubUpstream {
  readonly #server: Server;
  /** Every request so far. */
  asked: Asked[] = [];
  /** Resolves when the connection of the latest request has closed. */
  closed: Promise<void> = Promise.resolve();
  /** What to answer. */
  answer: (response: ServerResponse, asked: Asked) => unknown = (response) => response.end();

  constructor() {
    this.#server = createServer((request, response) => {
      this.closed = new Promise((resolve) => response.once('close', resolve));
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('end', () => {
        const { method = '', url: path = '', headers } = request;
        const text = Buffer.concat(pieces).toString();
        const asked = { method, path, text, body: JSON.parse(text || '{}'), headers };
        this.asked.push(asked);
        void this.answer(response, asked);
      });
    });
  }

  async listen(): Promise<string> {
    // A connection that lies idle on a busy machine is still good.
    this.#server.keepAliveTimeout = 0;
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v1`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Answers with a completion that says these texts, one for each choice. */
  says(...texts: string[]): void {
    const choices = texts.map((content, index) => {
      return { index, message: { role: 'assistant', content, refusal: null }, logprobs: null, finish_reason: 'stop' };
    });
    this.answersJson({
      id: 'c1',
      object: 'chat.completion',
      created: 1,
      model: 'stub',
      choices,
      system_fingerprint: 'fp',
    });
  }

  answersJson(body: unknown, status = 200): void {
    this.answer = (response) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
  }

  /** Answers with these bytes as a stream of events, cut where the array is. `open` leaves the stream open after them. */
  streams(pieces: (string | Uint8Array)[], open = false, type = 'text/event-stream'): void {
    this.answer = async (response) => {
      response.writeHead(200, { 'content-type': type });
      for (const piece of pieces) {
        response.write(piece);
        // Each piece is a packet of its own.
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
      if (!open) response.end();
    };
  }
}

/** A chunk as OpenAI sends it. */
export function chunk(delta: object, more: object = {}, index = 0): string {
  const choice = { index, delta, logprobs: null, finish_reason: null, ...more };
  return event({
    id: 'c1',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'stub',
    system_fingerprint: 'fp',
    choices: [choice],
  });
}

export const event = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`;
export const last = (reason = 'stop', index = 0): string => chunk({}, { finish_reason: reason }, index);
export const DONE = 'data: [DONE]\n\n';
