/** What this browser can run, found out before anything is downloaded. */

import type { Support } from './types.ts';

/** A module with one function: `i32.const 0, i8x16.splat`. It is valid exactly where there is 128-bit SIMD. */
const SIMD_PROBE = new Uint8Array([
  0x00,
  0x61,
  0x73,
  0x6d,
  0x01,
  0x00,
  0x00,
  0x00, // magic, version
  0x01,
  0x05,
  0x01,
  0x60,
  0x00,
  0x01,
  0x7b, // type: () -> v128
  0x03,
  0x02,
  0x01,
  0x00, // one function of that type
  0x0a,
  0x08,
  0x01,
  0x06,
  0x00,
  0x41,
  0x00,
  0xfd,
  0x0f,
  0x0b, // its body
]);

/** Bytes that the largest weight of a bundle may need in one buffer and one binding; also WebGPU's default limit. */
const NEEDED_BUFFER = 128 << 20;

interface Adapter {
  limits: { maxStorageBufferBindingSize: number; maxBufferSize: number };
  info?: { vendor?: string; architecture?: string; description?: string; isFallbackAdapter?: boolean };
  isFallbackAdapter?: boolean;
}

export interface GpuFound {
  usable: boolean;
  /** An adapter that runs on the CPU, slower than the CPU build. */
  software: boolean;
  reason: string;
  /** What the browser tells of the GPU. */
  name?: string;
}

/** Why WebAssembly with SIMD does not run here; `undefined` where it does. */
export function missingWasm(): string | undefined {
  if (typeof WebAssembly !== 'object') return 'WebAssembly is missing';
  if (!WebAssembly.validate(SIMD_PROBE)) return 'WebAssembly has no 128-bit SIMD here; update the browser';
  return undefined;
}

/** Looks for a WebGPU adapter with the needed limits. */
export async function findGpu(): Promise<GpuFound> {
  const no = (reason: string): GpuFound => ({ usable: false, software: false, reason });
  const gpu = (globalThis.navigator as unknown as { gpu?: { requestAdapter(o?: object): Promise<Adapter | null> } })
    ?.gpu;
  if (!gpu) {
    const secure = (globalThis as { isSecureContext?: boolean }).isSecureContext !== false;
    return no(secure ? 'there is no WebGPU here' : 'WebGPU needs https or localhost');
  }
  let adapter: Adapter | null;
  try {
    adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  } catch (error) {
    return no(`the WebGPU adapter cannot be had: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!adapter) return no('WebGPU has no adapter here');
  for (const limit of ['maxStorageBufferBindingSize', 'maxBufferSize'] as const) {
    const found = adapter.limits[limit];
    if (found < NEEDED_BUFFER) return no(`the GPU's ${limit} is ${found}, but ${NEEDED_BUFFER} bytes are needed`);
  }
  const software = Boolean(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  const reason = software ? 'the WebGPU adapter is emulated on the CPU' : 'the WebGPU adapter has the needed limits';
  const { description, vendor, architecture } = adapter.info ?? {};
  const name = description || [vendor, architecture].filter(Boolean).join(' ') || 'unnamed';
  return { usable: true, software, reason, name };
}

/** Whether a guard can run here, and on what. Downloads nothing. */
export async function isSupported(): Promise<Support> {
  const missing = missingWasm();
  const gpu = await findGpu();
  const webgpu = gpu.usable && missing === undefined;
  const reasons = missing === undefined ? [] : [missing];
  if (!gpu.usable) reasons.push(gpu.reason);
  return { supported: missing === undefined, cpu: missing === undefined, webgpu, reasons };
}
