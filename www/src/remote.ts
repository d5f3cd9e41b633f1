/** The engine on the other side: the same calls, sent to a worker as messages, and a new worker where one is lost. */

import type {
  CheckHooks,
  CheckRequest,
  Engine,
  EngineMonitor,
  EngineSpec,
  LoadHooks,
  MonitorRequest,
} from './engine.ts';
import { fromWire, GuardError } from './errors.ts';
import { readFromWorker } from './messages.ts';
import type { Calls, CallName, ToWorker } from './protocol.ts';
import { abortable, onAbort, throwIfAborted } from './signals.ts';
import type { PolicyText } from './policy.ts';
import type { GuardEvent, GuardInfo, PolicyObject, Progress, Verdict } from './types.ts';

/** What is used of a `Worker`. */
export interface WorkerLike {
  postMessage(message: unknown): void;
  terminate(): void;
  addEventListener(type: 'message' | 'error' | 'messageerror', listener: (event: Event) => void): void;
  /** What to do where it does not start; absent: what a page does. */
  readonly help?: string;
  /** Told whether calls are open, where a worker would else keep its process alive. */
  hold?(held: boolean): void;
}

interface Pending {
  resolve(value: Calls[CallName]['get']): void;
  reject(error: GuardError): void;
  onEvent?: CheckHooks['onEvent'];
}

/** Failures after which the worker's memory is better given back whole. */
const FATAL = new Set(['crashed', 'device_lost', 'out_of_memory']);

/** One worker, from its start to its end. */
class Connection {
  #worker: WorkerLike;
  #pending = new Map<number, Pending>();
  #calls = 0;
  #alive = false;
  #end: GuardError | undefined;
  #onProgress: ((progress: Progress) => void) | undefined;

  /** @throws GuardError `unsupported` if no worker can be made of the script. */
  constructor(start: () => WorkerLike, onProgress?: (progress: Progress) => void) {
    this.#onProgress = onProgress;
    try {
      this.#worker = start();
    } catch (error) {
      throw unavailable(error instanceof Error ? error.message : String(error));
    }
    this.#worker.addEventListener('message', (event) => this.#receive((event as MessageEvent<unknown>).data));
    this.#worker.addEventListener('error', (event) => {
      const { message } = event as ErrorEvent;
      if (!this.#alive) return this.close(unavailable(message || 'its script did not load', this.#worker.help));
      this.close(died(message || 'without a message'));
    });
    this.#worker.addEventListener('messageerror', () => this.close(died('a message could not be read')));
  }

  get closed(): boolean {
    return this.#end !== undefined;
  }

  call<Name extends CallName>(
    type: Name,
    send: Calls[Name]['send'],
    hooks: CheckHooks = {},
  ): Promise<Calls[Name]['get']> {
    const { signal, onEvent } = hooks;
    const id = ++this.#calls;
    const answer = new Promise<Calls[Name]['get']>((resolve, reject) => {
      throwIfAborted(signal);
      if (this.#end) throw this.#end;
      this.#open(id, { resolve: resolve as Pending['resolve'], reject, onEvent });
      try {
        this.post({ type, id, ...send } as ToWorker);
      } catch (error) {
        this.#take(id);
        const why = error instanceof Error ? error.message : String(error);
        throw new GuardError('bad_input', `expected plain data but got what cannot be sent to a worker: ${why}`);
      }
    });
    const stop = onAbort(signal, () => {
      if (this.#take(id)) this.post({ type: 'abort', id });
    });
    const outcome = abortable(answer, signal);
    outcome.then(stop, stop);
    return outcome;
  }

  #open(id: number, pending: Pending): void {
    this.#pending.set(id, pending);
    this.#worker.hold?.(true);
  }

  /** The call that is open under the number, which it is no more. */
  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#worker.hold?.(false);
    return pending;
  }

  post(message: ToWorker): void {
    if (!this.#end) this.#worker.postMessage(message);
  }

  /** Ends the worker; what was called gets `error`. */
  close(error: GuardError): void {
    if (this.#end) return;
    this.#end = error;
    this.#worker.terminate();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(error);
  }

  #receive(data: unknown): void {
    const message = readFromWorker(data);
    if (this.#end || !message) return;
    switch (message.type) {
      case 'hello':
        this.#alive = true;
        return this.#watch(message.lock);
      case 'progress':
        return this.#onProgress?.(message.progress);
      case 'event':
        return void this.#event(message.id, message.event);
      case 'trapped':
        return this.close(died(message.why));
    }
    const pending = this.#take(message.id);
    if (message.type === 'done') return pending?.resolve(message.value);
    const error = fromWire(message.error);
    pending?.reject(error);
    if (FATAL.has(error.code)) this.close(error);
  }

  async #event(id: number, event: GuardEvent): Promise<void> {
    await this.#pending.get(id)?.onEvent?.(event);
    this.post({ type: 'ack', id });
  }

  /** A worker that is killed fires no event, but gives up its lock. */
  #watch(lock: string | undefined): void {
    if (lock === undefined) return;
    navigator.locks.request(lock, () => this.close(died('it was ended, probably for want of memory'))).catch(() => {});
  }
}

export class RemoteEngine implements Engine {
  #start: () => WorkerLike;
  #spec: EngineSpec;
  #connection: Connection | undefined;
  #starting: Promise<Connection> | undefined;
  #info!: GuardInfo;
  #policy!: PolicyObject;
  #disposed = false;

  private constructor(start: () => WorkerLike, spec: EngineSpec) {
    this.#start = start;
    this.#spec = spec;
  }

  static async load(start: () => WorkerLike, spec: EngineSpec, hooks: LoadHooks = {}): Promise<RemoteEngine> {
    const engine = new RemoteEngine(start, spec);
    await engine.#connect(hooks);
    return engine;
  }

  get info(): GuardInfo {
    return this.#info;
  }

  get policy(): PolicyObject {
    return this.#policy;
  }

  async check(request: CheckRequest, hooks: CheckHooks = {}): Promise<Verdict> {
    const connection = await abortable(this.#ready(), hooks.signal);
    return connection.call('check', { request, events: hooks.onEvent !== undefined }, hooks);
  }

  async monitor(request: MonitorRequest, signal?: AbortSignal): Promise<EngineMonitor> {
    const connection = await abortable(this.#ready(), signal);
    const opening = connection.call('monitor', { request });
    const close = (monitor: number) => connection.post({ type: 'close', monitor });
    const monitor = await abortable(opening, signal).catch((error: unknown) => {
      // Nobody else would free what comes too late.
      opening.then(close, () => {});
      throw error;
    });
    return {
      push: (text, signal) => connection.call('push', { monitor, text }, { signal }),
      checkNow: (signal) => connection.call('checkNow', { monitor }, { signal }),
      finish: (signal) => connection.call('finish', { monitor }, { signal }),
      close: () => close(monitor),
    };
  }

  async setPolicy(policy: PolicyText): Promise<PolicyObject> {
    const connection = await this.#ready();
    this.#policy = await connection.call('policy', { policy });
    this.#spec = { ...this.#spec, policy };
    return this.#policy;
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#connection?.close(new GuardError('disposed', 'the guard was disposed of'));
  }

  async #ready(): Promise<Connection> {
    if (this.#connection && !this.#connection.closed) return this.#connection;
    // Calls that come meanwhile wait for the same worker.
    this.#starting ??= this.#connect({}).finally(() => (this.#starting = undefined));
    return this.#starting;
  }

  async #connect({ signal, onProgress }: LoadHooks): Promise<Connection> {
    throwIfAborted(signal);
    if (this.#disposed) throw new GuardError('disposed', 'the guard was disposed of');
    const connection = new Connection(this.#start, onProgress);
    this.#connection = connection;
    try {
      const { info, policy } = await connection.call('load', { spec: this.#spec }, { signal });
      this.#info = info;
      this.#policy = policy;
      return connection;
    } catch (error) {
      connection.close(error as GuardError);
      throw error;
    }
  }
}

const PAGE =
  "serve a copy of the package's dist folder from the page's own origin and give its address as `assets`, " +
  "allow it with the CSP `worker-src 'self'` (from another origin: `blob:` and that origin, and CORS)";

function unavailable(why: string, help = PAGE): GuardError {
  return new GuardError('unsupported', `the guard's worker does not start (${why}); ${help}, or use \`worker: false\``);
}

function died(why: string): GuardError {
  const message = `the guard's worker died (${why}); this call has no verdict, the next one starts it again`;
  return new GuardError('crashed', message);
}
