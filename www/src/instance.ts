/** Instances of the compiled core: made, lent to one guard at a time, and replaced after a trap. */

import { GuardError, toGuardError } from './errors.ts';
import type { WasmModule } from './wasm.ts';

export type Device = 'webgpu' | 'cpu';

/** Where this platform has the two builds. */
export interface Builds {
  /** A copy of a build's glue: the `n`th, with an instance of its own, or again the same where there is only one. */
  glue(device: Device, n: number): Promise<WasmModule>;
  /** The compiled code. */
  code(device: Device): Promise<WebAssembly.Module>;
  /** Whether `glue` gives only one copy, which guards must share. */
  single?: boolean;
}

/** A live instance. Whoever has it gives it back, or throws it away after a trap. */
export interface Lease {
  readonly module: WasmModule;
  /** Calls `listener` when the instance is thrown away, by this guard or by another that shares it; the function
   * returned takes that back. */
  onLost(listener: (error: GuardError) => void): () => void;
  /** The instance is as good as new: what was made in it has been freed. */
  release(): void;
  /** Nothing in the instance can be trusted any more. */
  discard(error: GuardError): void;
}

/** A glue with its present instance. */
interface Slot {
  module: WasmModule;
  /** Of the present instance. */
  leases: Set<LeaseBody>;
}

class LeaseBody implements Lease {
  readonly module: WasmModule;
  #end: (lease: LeaseBody, error: GuardError | undefined) => void;
  #listeners = new Set<(error: GuardError) => void>();

  constructor(module: WasmModule, end: (lease: LeaseBody, error: GuardError | undefined) => void) {
    this.module = module;
    this.#end = end;
  }

  onLost(listener: (error: GuardError) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  release(): void {
    this.#end(this, undefined);
  }

  discard(error: GuardError): void {
    this.#end(this, error);
  }

  lost(error: GuardError): void {
    for (const listener of this.#listeners) listener(error);
  }
}

/** The promise's outcome, or the loss of the instance that works on it. */
export function whileLeased<T>(lease: Lease, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = lease.onLost(reject);
    promise.then(resolve, reject).finally(stop);
  });
}

/** The instances of this page or isolate. Glue can never be unloaded, so a copy that is given back is used again. */
export class Instances {
  #builds: Builds;
  #code = new Map<Device, Promise<WebAssembly.Module>>();
  #free: Record<Device, Slot[]> = { cpu: [], webgpu: [] };
  #shared = new Map<Device, Promise<Slot>>();
  #copies = 0;

  constructor(builds: Builds) {
    this.#builds = builds;
  }

  /** @throws GuardError `unsupported` if the build does not run here, `network` if its code cannot be read. */
  async lease(device: Device): Promise<Lease> {
    const slot = this.#builds.single
      ? await this.#one(device)
      : (this.#free[device].pop() ?? (await this.#make(device)));
    const lease = new LeaseBody(slot.module, (lease, error) => this.#end(device, slot, lease, error));
    slot.leases.add(lease);
    return lease;
  }

  async #one(device: Device): Promise<Slot> {
    const slot = this.#shared.get(device) ?? this.#make(device);
    this.#shared.set(device, slot);
    slot.catch(() => this.#shared.delete(device));
    return slot;
  }

  async #make(device: Device): Promise<Slot> {
    const code = this.#code.get(device) ?? this.#builds.code(device);
    this.#code.set(device, code);
    code.catch(() => this.#code.delete(device));
    try {
      const module = await this.#builds.glue(device, this.#copies++);
      await module.default({ module_or_path: await code });
      return { module, leases: new Set() };
    } catch (error) {
      throw loadError(device, error);
    }
  }

  #end(device: Device, slot: Slot, lease: LeaseBody, error: GuardError | undefined): void {
    // A lease of an instance that is gone has nothing to give back.
    if (!slot.leases.has(lease)) return;
    if (error) return this.#lose(device, slot, error);
    slot.leases.delete(lease);
    // A new instance is small again; linear memory never shrinks.
    if (slot.leases.size === 0 && this.#reset(slot)) this.#putBack(device, slot);
  }

  #lose(device: Device, slot: Slot, error: GuardError): void {
    const leases = [...slot.leases];
    slot.leases.clear();
    const fresh = this.#reset(slot);
    for (const lease of leases) lease.lost(error);
    if (fresh) this.#putBack(device, slot);
    else this.#shared.delete(device);
  }

  #putBack(device: Device, slot: Slot): void {
    if (!this.#builds.single && !this.#free[device].includes(slot)) this.#free[device].push(slot);
  }

  /** Replaces the slot's instance. Where the glue cannot, the slot is not used again. */
  #reset(slot: Slot): boolean {
    try {
      slot.module.__wbg_reset_state?.();
      return slot.module.__wbg_reset_state !== undefined;
    } catch {
      return false;
    }
  }
}

function loadError(device: Device, error: unknown): GuardError {
  const known = toGuardError(error);
  if (known.code !== 'crashed') return known;
  const message = `the ${device} build does not start here: ${error instanceof Error ? error.message : String(error)}`;
  return new GuardError('unsupported', message, { cause: error });
}

/** Compiles code from an address while it comes in; a server that does not know the `.wasm` type costs that overlap. */
export async function compileFrom(url: URL): Promise<WebAssembly.Module> {
  let response: Response;
  try {
    response = await fetch(url);
    if (!response.ok) throw new Error(`the server answered ${response.status} ${response.statusText}`.trim());
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const message = `${url.href} could not be fetched: ${why}; serve the package's dist folder and give its address as \`assets\``;
    throw new GuardError('network', message, { cause: error });
  }
  if (response.headers.get('content-type')?.startsWith('application/wasm'))
    return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}
