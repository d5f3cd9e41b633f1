/** What lies between the public guard and a loaded model: the same few calls whether the model is here or in a worker.
 * Everything in them can be sent as a message. */

import type { ModelSpec } from './model/source.ts';
import type { PolicyText } from './policy.ts';
import type {
  DeviceChoice,
  GuardEvent,
  GuardInfo,
  Message,
  Pace,
  PolicyObject,
  Progress,
  Reasoning,
  Target,
  Verdict,
  WebgpuBuild,
} from './types.ts';

/** All that it takes to load a model, and to load it again. */
export interface EngineSpec {
  model: ModelSpec;
  device: DeviceChoice;
  onError: 'block' | 'review';
  cache: boolean;
  offline: boolean;
  /** Where a copy of the package's files lies, as an absolute address that ends with `/`; absent: beside the code. */
  assets?: string | undefined;
  /** Where the build for WebGPU lies; absent: in `assets`, or nowhere. */
  webgpu?: WebgpuBuild | undefined;
  /** Tokens that one check may read at most; absent: as many as any text that the model takes. */
  maxWork?: number | undefined;
  /** Whether a bundle without a self-test that counts is loaded. */
  allowUntested: boolean;
  /** Absent: the model's own. */
  policy?: PolicyText | undefined;
}

export interface CheckRequest {
  messages: readonly Message[];
  /** Absent: the engine's. */
  policy?: PolicyText | undefined;
  target?: Target | undefined;
  reasoning: Reasoning;
  /** In [0, 1]; absent: the model's own balance. */
  strictness?: number | undefined;
}

/** How a growing text is checked and released; sizes in characters. */
export interface MonitorPace {
  checkEvery: number;
  holdBack: number;
  pace: Pace;
  releaseOnReview: boolean;
}

export interface MonitorRequest extends CheckRequest, MonitorPace {}

/** What a monitor says to a piece of text. */
export interface MonitorStep {
  released: string;
  verdict?: Verdict;
  blocked: boolean;
}

/** A response that grows. */
export interface EngineMonitor {
  push(text: string, signal?: AbortSignal): Promise<MonitorStep>;
  /** Checks what is new without waiting for the end of a sentence. */
  checkNow(signal?: AbortSignal): Promise<MonitorStep>;
  finish(signal?: AbortSignal): Promise<MonitorStep>;
  /** Frees it, when its running call has ended. */
  close(): void;
}

export interface CheckHooks {
  signal?: AbortSignal | undefined;
  /** Gets each event. The engine waits for the promise before it goes on; others run meanwhile. */
  onEvent?: ((event: GuardEvent) => void | Promise<void>) | undefined;
}

/** A loaded model. One of its calls computes at a time, and long ones let short ones pass. Everything rejects with `GuardError`. */
export interface Engine {
  readonly info: GuardInfo;
  readonly policy: PolicyObject;
  check(request: CheckRequest, hooks?: CheckHooks): Promise<Verdict>;
  monitor(request: MonitorRequest, signal?: AbortSignal): Promise<EngineMonitor>;
  setPolicy(policy: PolicyText): Promise<PolicyObject>;
  /** Frees the model when the running call has ended. */
  dispose(): Promise<void>;
}

export interface LoadHooks {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
}
