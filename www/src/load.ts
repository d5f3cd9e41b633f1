/** Loading: a model, an instance and a device, put together; on `auto`, the better device that works. */

import { findGpu, missingWasm, type GpuFound } from './device.ts';
import type { EngineSpec } from './engine.ts';
import { GuardError, toGuardError } from './errors.ts';
import { type Device, type Instances, type Lease, whileLeased } from './instance.ts';
import type { Model } from './model/source.ts';
import type { ProgressTracker } from './progress.ts';
import { abortable, throwIfAborted } from './signals.ts';
import type { GuardInfo } from './types.ts';
import type { WasmGuard } from './wasm.ts';

/** What a platform gives to run a model in its own realm. */
export interface LocalParts {
  instances: Instances;
  /** Opens the model that the spec names. */
  open(spec: EngineSpec, signal?: AbortSignal): Promise<Model>;
  /** Why there is no WebGPU here, whatever the browser has; absent where there may be. */
  withoutGpu?: string;
}

/** A guard in an instance, until either is lost. */
export interface Live {
  lease: Lease;
  guard: WasmGuard;
  info: GuardInfo;
}

/** Failures on the GPU that say nothing against the CPU. */
const DEVICE_TROUBLE = new Set(['unsupported', 'self_test', 'crashed', 'device_lost', 'out_of_memory']);

/** Loads the model on the device asked for; for `auto`, on the better one that works. */
export async function build(
  parts: LocalParts,
  spec: EngineSpec,
  progress: ProgressTracker,
  signal?: AbortSignal,
): Promise<Live> {
  progress.stage('wasm');
  const missing = missingWasm();
  if (missing) throw new GuardError('unsupported', missing);
  const opening = parts.open(spec, signal);
  // Waited for below; until then, its failure is nobody's.
  opening.catch(() => {});
  const on = async (device: Device, reason: string, gpu: Pick<GuardInfo, 'adapter'> = {}) => {
    const lease = await parts.instances.lease(device);
    return load(lease, opening, spec, { device, reason, ...gpu }, progress, signal);
  };
  if (spec.device === 'cpu') return on('cpu', 'the caller chose the CPU');
  const { withoutGpu } = parts;
  const gpu: GpuFound =
    withoutGpu === undefined ? await findGpu() : { usable: false, software: false, reason: withoutGpu };
  const named = gpu.name === undefined ? {} : { adapter: gpu.name };
  throwIfAborted(signal);
  if (spec.device === 'webgpu') {
    if (!gpu.usable) throw new GuardError('unsupported', `${gpu.reason}; \`device: 'auto'\` would take the CPU`);
    return on('webgpu', 'the caller chose WebGPU', named);
  }
  if (!gpu.usable || gpu.software) return on('cpu', gpu.reason);
  let lease: Lease;
  const why = (error: unknown) => {
    const { code, message } = toGuardError(error);
    return `WebGPU was tried and failed (${code}: ${message})`;
  };
  try {
    lease = await parts.instances.lease('webgpu');
  } catch (error) {
    return on('cpu', why(error));
  }
  try {
    const reason = `${gpu.reason}, and the model passed its self-test on it`;
    return await load(lease, opening, spec, { device: 'webgpu', reason, ...named }, progress, signal);
  } catch (error) {
    if (!DEVICE_TROUBLE.has(toGuardError(error).code)) throw error;
    return on('cpu', why(error));
  }
}

/** Loads the model into an instance, which is given back if that fails. */
async function load(
  lease: Lease,
  opening: Promise<Model>,
  spec: EngineSpec,
  choice: Pick<GuardInfo, 'device' | 'reason' | 'adapter'>,
  progress: ProgressTracker,
  signal?: AbortSignal,
): Promise<Live> {
  let failure: unknown;
  let loading: Promise<WasmGuard> | undefined;
  try {
    const model = await abortable(opening, signal);
    const { manifest } = model;
    progress.total(manifest.total);
    progress.stage('model');
    let left = manifest.files.length;
    const read = async (name: string): Promise<Uint8Array> => {
      try {
        throwIfAborted(signal);
        const onBytes = (bytes: number, cached: boolean) => progress.file(name, bytes, cached);
        const bytes = await model.read(name, { signal, onBytes });
        if (--left === 0) progress.stage('self-test');
        return bytes;
      } catch (error) {
        // What went wrong here is not what the core makes of it.
        failure = error;
        throw error;
      }
    };
    const { onError, maxWork, allowUntested } = spec;
    loading = lease.module.WasmGuard.load(manifest.bytes, read, { onError, maxWork, allowUntested });
    const guard = await abortable(whileLeased(lease, loading), signal);
    const { total: bytes } = manifest;
    const info: GuardInfo = { ...choice, model: guard.model, bytes, source: model.source, selfTest: guard.selfTest() };
    return { lease, guard, info };
  } catch (thrown) {
    const error = toGuardError(failure ?? thrown);
    if (loading && signal?.aborted) {
      // It still runs; an instance is not pulled from under it.
      const release = () => lease.release();
      loading
        .then(
          (guard) => guard.free(),
          () => {},
        )
        .then(release, release);
    } else {
      lease.discard(error);
    }
    throw error;
  }
}
