/** The engine on this side: owns the compiled guard, lets one call compute at a time, and builds it anew after it is lost. */

import type {
  CheckHooks,
  CheckRequest,
  Engine,
  EngineMonitor,
  EngineSpec,
  LoadHooks,
  MonitorRequest,
  MonitorStep,
} from './engine.ts';
import { abortError, GuardError, toGuardError } from './errors.ts';
import { whileLeased } from './instance.ts';
import { build, type Live, type LocalParts } from './load.ts';
import type { PolicyText } from './policy.ts';
import { ProgressTracker } from './progress.ts';
import { FairQueue, type Turn } from './queue.ts';
import { abortable, onAbort, throwIfAborted } from './signals.ts';
import type { GuardInfo, PolicyObject, Verdict } from './types.ts';
import type { WasmEvent, WasmModule, WasmMonitor, WasmRequest } from './wasm.ts';

/** Failures after which nothing in the instance is used again. */
const FATAL = new Set(['crashed', 'device_lost', 'out_of_memory']);

/** Policies kept parsed; a page rarely has more at once. */
const POLICIES = 16;

export class LocalEngine implements Engine {
  #parts: LocalParts;
  #spec: EngineSpec;
  #live: Live | undefined;
  #info: GuardInfo;
  #policy: PolicyObject;
  /** The JSON of the engine's policy, where it is not the model's own. */
  #ownPolicy: string | undefined;
  #parsed = new Map<string, string>();
  #queue = new FairQueue();

  private constructor(parts: LocalParts, spec: EngineSpec, live: Live) {
    this.#parts = parts;
    this.#spec = spec;
    this.#adopt(live);
    this.#info = live.info;
    this.#policy = live.guard.policy();
  }

  static async load(parts: LocalParts, spec: EngineSpec, hooks: LoadHooks = {}): Promise<LocalEngine> {
    const progress = new ProgressTracker(hooks.onProgress);
    const live = await build(parts, spec, progress, hooks.signal);
    const engine = new LocalEngine(parts, spec, live);
    try {
      throwIfAborted(hooks.signal);
      if (spec.policy) await engine.setPolicy(spec.policy);
    } catch (error) {
      await engine.dispose();
      throw error;
    }
    progress.stage('ready');
    return engine;
  }

  get info(): GuardInfo {
    return this.#info;
  }

  get policy(): PolicyObject {
    return this.#policy;
  }

  check(request: CheckRequest, hooks: CheckHooks = {}): Promise<Verdict> {
    const { signal, onEvent } = hooks;
    return this.#run(signal, async (live, turn) => {
      let stopped = () => {};
      const stop = new Promise<void>((resolve) => (stopped = resolve));
      const letGo = onAbort(signal, stopped);
      const forward = async (event: WasmEvent): Promise<boolean> => {
        if (signal?.aborted) return false;
        // Between two stretches of a text there is nothing to show.
        const pulled = event.type === 'reading' ? undefined : onEvent?.(event);
        if (event.type === 'verdict') return true;
        // A slow reader holds up nobody else.
        if (pulled) await turn.aside(Promise.race([pulled, stop]));
        await turn.pause();
        return !signal?.aborted;
      };
      try {
        const verdict = await live.guard.check(this.#request(live, request), forward);
        if (!verdict) throw abortError(signal);
        return verdict;
      } finally {
        letGo();
      }
    });
  }

  async monitor(request: MonitorRequest, signal?: AbortSignal): Promise<EngineMonitor> {
    const { checkEvery, holdBack, pace, releaseOnReview } = request;
    const start = async (live: Live) => {
      const options = { checkEvery, holdBack, pace, releaseOnReview };
      return new LocalMonitor(live, live.guard.monitor(this.#request(live, request), options));
    };
    const started = this.#run(undefined, start);
    const close = (monitor: LocalMonitor) => {
      this.#queue
        .run(async () => monitor.free(this.#live))
        .catch((error: unknown) => {
          if (this.#live) this.#lose(this.#live, toGuardError(error));
        });
    };
    const monitor = await abortable(started, signal).catch((error: unknown) => {
      // Nobody else would free what comes too late.
      started.then(close, () => {});
      throw error;
    });
    type Step = (monitor: WasmMonitor, onReading: () => Promise<void>) => Promise<MonitorStep>;
    const step = (call: Step, signal?: AbortSignal) =>
      this.#run(signal, (live, turn) => {
        const onReading = async () => {
          await turn.pause();
          throwIfAborted(signal);
        };
        return call(monitor.of(live), onReading);
      });
    return {
      push: (text, signal) => step((body, onReading) => body.push(text, onReading), signal),
      checkNow: (signal) => step((body, onReading) => body.checkNow(onReading), signal),
      finish: (signal) => step((body, onReading) => body.finish(onReading), signal),
      close: () => close(monitor),
    };
  }

  setPolicy(policy: PolicyText): Promise<PolicyObject> {
    return this.#run(undefined, async (live) => {
      const json = this.#parse(live.lease.module, policy);
      this.#ownPolicy = json;
      this.#policy = JSON.parse(json) as PolicyObject;
      return this.#policy;
    });
  }

  async dispose(): Promise<void> {
    await this.#queue.idle();
    const live = this.#live;
    this.#live = undefined;
    if (!live) return;
    try {
      live.guard.free();
      live.lease.release();
    } catch (error) {
      live.lease.discard(toGuardError(error));
    }
  }

  /** Runs `task` in its turn, on a guard that lives. */
  #run<T>(signal: AbortSignal | undefined, task: (live: Live, turn: Turn) => Promise<T>): Promise<T> {
    return this.#queue.run(async (turn) => {
      const live = await this.#ready();
      if (signal?.aborted) throw abortError(signal);
      try {
        return await whileLeased(live.lease, task(live, turn));
      } catch (thrown) {
        const error = toGuardError(thrown);
        // What is a `GuardError` already was thrown on this side, not by the core.
        if (error !== thrown && FATAL.has(error.code)) this.#lose(live, error);
        throw error;
      }
    }, signal);
  }

  async #ready(): Promise<Live> {
    if (this.#live) return this.#live;
    // Whoever's call this is, the guard is of use to the next one too, so that no signal ends it.
    const live = await build(this.#parts, this.#spec, new ProgressTracker(undefined), undefined);
    this.#info = live.info;
    this.#adopt(live);
    return live;
  }

  #adopt(live: Live): void {
    this.#live = live;
    live.lease.onLost(() => {
      if (this.#live === live) this.#live = undefined;
    });
  }

  #lose(live: Live, error: GuardError): void {
    if (this.#live === live) this.#live = undefined;
    live.lease.discard(error);
  }

  #request(live: Live, request: CheckRequest): WasmRequest {
    const { messages, target, reasoning, strictness } = request;
    const policy = request.policy ? this.#parse(live.lease.module, request.policy) : this.#ownPolicy;
    return {
      messages,
      reasoning,
      ...(policy && { policy }),
      ...(request.policy && 'limits' in request.policy && { policyLimits: request.policy.limits }),
      ...(target && { target }),
      ...(strictness !== undefined && { strictness }),
    };
  }

  /** The policy as the JSON that the core takes. */
  #parse(module: WasmModule, policy: PolicyText): string {
    const key = JSON.stringify(policy);
    let json = this.#parsed.get(key);
    if (json === undefined) {
      json = JSON.stringify(parsePolicyText(module, policy));
      const [oldest] = this.#parsed.keys();
      if (this.#parsed.size >= POLICIES && oldest !== undefined) this.#parsed.delete(oldest);
    }
    // Last again, so that what is in use is not the oldest.
    this.#parsed.delete(key);
    this.#parsed.set(key, json);
    return json;
  }
}

/** A monitor and the guard that it belongs to; when that is lost, so is the monitor. */
class LocalMonitor {
  #live: Live;
  #body: WasmMonitor | undefined;

  constructor(live: Live, body: WasmMonitor) {
    this.#live = live;
    this.#body = body;
  }

  of(live: Live): WasmMonitor {
    if (this.#body && live === this.#live) return this.#body;
    const message = 'the compiled guard was started again in the middle of this text, which was not judged to its end';
    throw new GuardError('crashed', message);
  }

  free(live: Live | undefined): void {
    if (live === this.#live) this.#body?.free();
    this.#body = undefined;
  }
}

export function parsePolicyText(module: WasmModule, policy: PolicyText): PolicyObject {
  if ('builtin' in policy) return module.builtinPolicy(policy.builtin);
  return module.parsePolicy(policy.text, policy.fileName, policy.limits);
}
