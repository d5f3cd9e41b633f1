/** The messages between a page and its guard's worker. */

import type { CheckRequest, EngineSpec, MonitorRequest, MonitorStep } from './engine.ts';
import type { WireError } from './errors.ts';
import type { PolicyText } from './policy.ts';
import type { GuardEvent, GuardInfo, PolicyObject, Progress, Verdict } from './types.ts';

/** Each call, what it sends, and what it gets. */
export interface Calls {
  load: { send: { spec: EngineSpec }; get: { info: GuardInfo; policy: PolicyObject } };
  check: { send: { request: CheckRequest; events: boolean }; get: Verdict };
  /** Gives the monitor's number. */
  monitor: { send: { request: MonitorRequest }; get: number };
  push: { send: { monitor: number; text: string }; get: MonitorStep };
  checkNow: { send: { monitor: number }; get: MonitorStep };
  finish: { send: { monitor: number }; get: MonitorStep };
  policy: { send: { policy: PolicyText }; get: PolicyObject };
}

export type CallName = keyof Calls;

export type Call = { [Name in CallName]: { type: Name; id: number } & Calls[Name]['send'] }[CallName];

export type ToWorker =
  | Call
  /** The caller of `id` is gone. */
  | { type: 'abort'; id: number }
  /** The event of `id` was consumed: go on. */
  | { type: 'ack'; id: number }
  | { type: 'close'; monitor: number };

export type FromWorker =
  /** The script runs; `lock` is the name of a lock that the worker holds while it lives. */
  | { type: 'hello'; lock: string | undefined }
  | { type: 'progress'; progress: Progress }
  | { type: 'event'; id: number; event: GuardEvent }
  | { type: 'done'; id: number; value: Calls[CallName]['get'] }
  | { type: 'failed'; id: number; error: WireError }
  /** The compiled code trapped where no call would tell of it. */
  | { type: 'trapped'; why: string };
