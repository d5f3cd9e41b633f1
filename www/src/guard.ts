/** The guard that users hold: reads their options, and gives calls to an engine wherever that runs. */

import { plainMessages } from './conversation.ts';
import type { CheckHooks, CheckRequest, Engine, EngineSpec, LoadHooks } from './engine.ts';
import { abortError, GuardError, toGuardError } from './errors.ts';
import { type FileLike, MINI, type ModelSpec } from './model/source.ts';
import { checked, isFlag, isFunction, isSignal, type Names, optionsOf, reading, shown } from './plain.ts';
import { isAddress, type PolicyText, type Reach, resolveAddress, resolvePolicy } from './policy.ts';
import { follow, abortable } from './signals.ts';
import { CheckStream } from './stream.ts';
import { guardTransform } from './transform.ts';
import type {
  CheckOptions,
  Guard,
  GuardInfo,
  GuardOptions,
  GuardStream,
  Input,
  ModelSource,
  PolicyObject,
  PolicySource,
  Reasoning,
  TransformOptions,
  Verdict,
  WebgpuBuild,
} from './types.ts';

/** Options as this room takes them: platforms allow files that are no `File`. */
export interface OpenOptions extends Omit<GuardOptions, 'model'> {
  model?: ModelSource | readonly FileLike[];
}

/** What a platform adds. */
export interface Platform {
  /** How addresses are read here; a caller's `fetch` takes the place of its own. */
  reach: Reach;
  /** Finds the model where none is named; absent where there is no other than the caller's. */
  ownModel?: (options: OpenOptions) => Promise<ModelSpec>;
  /** `options` are the caller's. */
  connect(spec: EngineSpec, hooks: LoadHooks, options: OpenOptions): Promise<Engine>;
}

/** New characters between two checks of a growing text, characters kept back, and milliseconds that a sentence is waited for. */
const CHECK_EVERY = 160;
const HOLD_BACK = 24;
const MAX_WAIT = 2000;
const KEPT_ADDRESSES = 16;

const OPEN: Names<OpenOptions> = {
  policy: true,
  model: true,
  device: true,
  webgpu: true,
  reasoning: true,
  strictness: true,
  onError: true,
  maxWork: true,
  worker: true,
  assets: true,
  cache: true,
  offline: true,
  allowUntested: true,
  fetch: true,
  onProgress: true,
  signal: true,
};
const CALL = { policy: true, policyLimits: true, strictness: true, signal: true } as const;
const CHECK: Names<CheckOptions> = { ...CALL, target: true, reasoning: true };
const TRANSFORM: Names<TransformOptions> = {
  ...CALL,
  messages: true,
  checkEvery: true,
  holdBack: true,
  pace: true,
  maxWait: true,
  releaseOnReview: true,
  frames: true,
  onCheck: true,
};

export async function openGuard(given: OpenOptions, platform: Platform): Promise<Guard> {
  try {
    const options = optionsOf(given, OPEN);
    const signal = checked('signal', options.signal, 'an AbortSignal', isSignal);
    const onProgress = checked('onProgress', options.onProgress, 'a function', isFunction);
    checked('fetch', options.fetch, 'a function', isFunction);
    checked('worker', options.worker, 'true, false or a function', (worker) => isFlag(worker) || isFunction(worker));
    if (signal?.aborted) throw abortError(signal);
    const reach = { ...platform.reach, ...(options.fetch && { fetch: options.fetch }) };
    const spec: EngineSpec = {
      model: await modelSpec(options, platform, reach.base),
      device: oneOf('device', options.device ?? 'auto', ['auto', 'webgpu', 'cpu']),
      onError: oneOf('onError', options.onError ?? 'block', ['block', 'review']),
      cache: checked('cache', options.cache, 'true or false', isFlag) ?? true,
      offline: checked('offline', options.offline, 'true or false', isFlag) ?? false,
      allowUntested: checked('allowUntested', options.allowUntested, 'true or false', isFlag) ?? false,
      ...(options.webgpu !== undefined && { webgpu: webgpuBuild(options.webgpu) }),
      ...(options.maxWork !== undefined && { maxWork: positive('maxWork', options.maxWork, 1) }),
    };
    const reasoning = oneOf('reasoning', options.reasoning ?? 'auto', ['never', 'auto', 'always']);
    const strictness = unit('strictness', options.strictness);
    if (options.policy !== undefined) spec.policy = await resolvePolicy(options.policy, reach, signal);
    const engine = await platform.connect(spec, { signal, onProgress }, options);
    if (signal?.aborted) {
      await engine.dispose();
      throw abortError(signal);
    }
    return new OpenGuard(engine, { reasoning, strictness }, reach);
  } catch (error) {
    throw toGuardError(error);
  }
}

/** What calls that do not say are made with. */
interface Defaults {
  reasoning: Reasoning;
  strictness: number | undefined;
}

class OpenGuard implements Guard {
  #engine: Engine;
  #defaults: Defaults;
  #reach: Reach;
  /** The calls that run. Each has a signal of its own: at the edge, one request's signal is not for another. */
  #calls = new Set<AbortController>();
  #disposing: Promise<void> | undefined;
  /** Policies that were read from addresses. */
  #addresses = new Map<string, PolicyText>();

  constructor(engine: Engine, defaults: Defaults, reach: Reach) {
    this.#engine = engine;
    this.#defaults = defaults;
    this.#reach = reach;
  }

  get info(): GuardInfo {
    return this.#engine.info;
  }

  get policy(): PolicyObject {
    return this.#engine.policy;
  }

  async check(input: Input, options: CheckOptions = {}): Promise<Verdict> {
    return this.#check(input, callOptions(options, CHECK), undefined);
  }

  stream(input: Input, options: CheckOptions = {}): GuardStream {
    const left = new AbortController();
    const start = async (onEvent: NonNullable<CheckHooks['onEvent']>) => {
      const given = callOptions(options, CHECK);
      const { controller, stop } = follow(given.signal, left.signal);
      try {
        return await this.#check(input, { ...given, signal: controller.signal }, onEvent);
      } finally {
        stop();
      }
    };
    return new CheckStream(start, (error) => left.abort(error));
  }

  transform<T extends string | Uint8Array>(given: TransformOptions = {}): TransformStream<T, T> {
    const options = callOptions(given, TRANSFORM);
    const checkEvery = positive('checkEvery', options.checkEvery ?? CHECK_EVERY, 1);
    const holdBack = positive('holdBack', options.holdBack ?? HOLD_BACK, 0);
    const pace = oneOf('pace', options.pace ?? 'adaptive', ['steady', 'adaptive']);
    const maxWait = positive('maxWait', options.maxWait ?? MAX_WAIT, 0);
    const releaseOnReview = oneOf('releaseOnReview', options.releaseOnReview ?? true, [true, false]);
    const frames = oneOf('frames', options.frames ?? 'refuse', ['refuse', 'text']);
    const strictness = unit('strictness', options.strictness) ?? this.#defaults.strictness;
    const onCheck = checked('onCheck', options.onCheck, 'a function', isFunction);
    return guardTransform<T>({
      begin: () => this.#begin(options.signal),
      open: async (signal) => {
        if (signal.aborted) throw abortError(signal);
        const policy = await this.#policyText(options, signal);
        const messages = plainMessages(options.messages ?? []);
        const request = { messages, policy, target: 'response' as const, reasoning: 'never' as const, strictness };
        return this.#engine.monitor({ ...request, checkEvery, holdBack, pace, releaseOnReview }, signal);
      },
      refuseFrames: frames === 'refuse',
      maxWait,
      onCheck,
    });
  }

  setPolicy(policy: PolicySource): Promise<PolicyObject> {
    return this.#call(undefined, async (signal) => {
      const text = await resolvePolicy(policy, this.#reach, signal);
      return abortable(this.#engine.setPolicy(text), signal);
    });
  }

  dispose(): Promise<void> {
    if (this.#disposing) return this.#disposing;
    this.#disposing = Promise.resolve();
    for (const controller of [...this.#calls]) end(controller);
    return (this.#disposing = this.#engine.dispose());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #check(input: Input, options: CheckOptions, onEvent: CheckHooks['onEvent']): Promise<Verdict> {
    return this.#call(options.signal, async (signal) =>
      judged(await this.#engine.check(await this.#request(input, options, signal), { signal, onEvent })),
    );
  }

  /** Runs `work` with a signal that the caller or the guard's end fires; every failure is a `GuardError`. */
  async #call<T>(caller: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { signal, stop } = this.#begin(caller);
    try {
      if (signal.aborted) throw abortError(signal);
      return await work(signal);
    } catch (error) {
      throw signal.aborted ? abortError(signal) : toGuardError(error);
    } finally {
      stop();
    }
  }

  /** A signal that the caller or the guard's end fires. */
  #begin(caller: AbortSignal | undefined): { signal: AbortSignal; stop: () => void } {
    const { controller, stop } = follow(caller);
    this.#calls.add(controller);
    if (this.#disposing) end(controller);
    const done = () => {
      stop();
      this.#calls.delete(controller);
    };
    return { signal: controller.signal, stop: done };
  }

  async #request(input: Input, options: CheckOptions, signal: AbortSignal): Promise<CheckRequest> {
    const messages = plainMessages(typeof input === 'string' ? [{ role: 'user', content: input }] : input);
    if (messages.length === 0) throw new GuardError('bad_input', 'expected at least one message but got none');
    const reasoning = oneOf('reasoning', options.reasoning ?? this.#defaults.reasoning, ['never', 'auto', 'always']);
    const target = options.target && oneOf('target', options.target, ['prompt', 'response']);
    const strictness = unit('strictness', options.strictness) ?? this.#defaults.strictness;
    return { messages, reasoning, target, strictness, policy: await this.#policyText(options, signal) };
  }

  /** A call's policy; an address is read by the first call that has it. */
  async #policyText(
    { policy, policyLimits }: Pick<CheckOptions, 'policy' | 'policyLimits'>,
    signal: AbortSignal,
  ): Promise<PolicyText | undefined> {
    const limits = policyLimits && oneOf('policyLimits', policyLimits, ['owner', 'caller']);
    if (policy === undefined) return undefined;
    const address = isAddress(policy) ? String(policy) : undefined;
    const known = address === undefined ? undefined : this.#addresses.get(address);
    const text = known ?? (await resolvePolicy(policy, this.#reach, signal));
    if (address !== undefined) this.#keep(address, text);
    return limits === 'caller' && 'text' in text ? { ...text, limits } : text;
  }

  /** What was not asked for longest is forgotten first. */
  #keep(address: string, text: PolicyText): void {
    this.#addresses.delete(address);
    this.#addresses.set(address, text);
    const [oldest] = this.#addresses.keys();
    if (this.#addresses.size > KEPT_ADDRESSES) this.#addresses.delete(oldest!);
  }
}

/** A call's options, read once.
 *
 * @throws GuardError `bad_input` */
function callOptions<T extends { signal?: AbortSignal }>(given: T, names: Names<T>): T {
  const options = optionsOf(given, names);
  checked('signal', options.signal, 'an AbortSignal', isSignal);
  return options;
}

function end(controller: AbortController): void {
  try {
    controller.abort(new GuardError('disposed', 'the guard was disposed of'));
  } catch {
    // At the edge, a call of another request cannot be reached; it ends with its request.
  }
}

/** A verdict that is none must not be read as one. */
function judged(verdict: Verdict): Verdict {
  if (['allow', 'review', 'block'].includes(verdict?.decision)) return verdict;
  throw new GuardError('crashed', `expected a verdict but got ${shown(verdict)}`);
}

async function modelSpec(options: OpenOptions, { ownModel }: Platform, base: string | undefined): Promise<ModelSpec> {
  const { model = MINI } = options;
  if (model === MINI) {
    if (ownModel) return ownModel(options);
    throw new GuardError(
      'bad_input',
      'expected `model` as the address or the files of a bundle; here none is found by itself',
    );
  }
  if (model instanceof URL) return { kind: 'address', address: model.href };
  if (typeof model === 'string') {
    if (isAddress(model) || model.includes('/')) return { kind: 'address', address: resolveAddress(model, base).href };
    const expected = `expected '${MINI}', or an address that starts with '/', './' or 'https://'`;
    throw new GuardError('bad_input', `there is no model ${JSON.stringify(model)}; ${expected}`);
  }
  if (isFiles(model)) return { kind: 'files', files: [...model] };
  const { name, manifest, files } = reading('model', () => ({ ...model, files: { ...model?.files } }));
  if (typeof name === 'string' && typeof manifest === 'string') return { kind: 'package', name, manifest, files };
  throw new GuardError('bad_input', `model: expected a name, an address, files or a package's but got ${typeof model}`);
}

function webgpuBuild(webgpu: WebgpuBuild): WebgpuBuild {
  const { glue, code } = reading('webgpu', () => ({ ...webgpu }));
  if (typeof glue === 'string' && typeof code === 'string') return { glue, code };
  throw new GuardError('bad_input', `webgpu: expected what \`rsafe/webgpu\` exports but got ${shown(webgpu)}`);
}

const isFiles = (model: OpenOptions['model']): model is readonly FileLike[] => Array.isArray(model);

function oneOf<T extends string | boolean>(field: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  throw new GuardError('bad_input', `${field}: expected one of ${allowed.join(', ')} but got ${shown(value)}`);
}

function positive(field: string, value: number, least: number): number {
  if (Number.isInteger(value) && value >= least) return value;
  throw new GuardError('bad_input', `${field}: expected a whole number from ${least} but got ${shown(value)}`);
}

/** A number in [0, 1], where there is one. */
function unit(field: string, value: number | undefined): number | undefined {
  if (value === undefined || (typeof value === 'number' && value >= 0 && value <= 1)) return value;
  throw new GuardError('bad_input', `${field}: expected a number from 0 to 1 but got ${shown(value)}`);
}
