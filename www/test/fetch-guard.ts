/** A guard that decides by words, on the calling thread, for tests of the guarded `fetch`. */

import type { Guard } from '../src/types.ts';
import { createGuard } from './edge-fake-guard.ts';

const EMPTY_MODULE = new WebAssembly.Module(new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]));

export async function fakeGuard(): Promise<Guard> {
  const fetch = { fetch: async () => new Response('{}') };
  return (await createGuard({ wasm: EMPTY_MODULE, model: new URL('https://x.example/'), fetch })) as unknown as Guard;
}
