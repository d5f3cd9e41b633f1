/** The order of a guard's calls: one computes at a time, and where it pauses, a call that has had less may pass.
 *
 * Calls begin in the order in which they were made. One that has paused a few times counts as long: it lets those pass that
 * had less, and those that begin. So that it is not passed for ever, every so manieth stretch is its own. */

import { abortError } from './errors.ts';
import { abortable, macrotask, onAbort } from './signals.ts';

/** Pauses, about 50 ms apart, up to which a call is short. Short ones do not pass one another. */
const SHORT = 8;
/** Every so manieth stretch between two pauses belongs to the long call that has waited longest. */
const PATIENCE = 8;
/** Calls that are under way at once: each has memory of its own. */
const BEGUN = 8;
/** Milliseconds between two looks of a call that waits at whoever has the turn, and after which a pause, which takes one or
 * two, has lasted too long to end. */
const WATCH_MS = 100;
const GONE_MS = 500;

/** A call's way to let others compute. */
export interface Turn {
  /** Gives messages and timers a moment, and the turn to a call that may pass. Resolves when this one may go on, or when
   * its signal fires. */
  pause(): Promise<void>;
  /** Others may compute until `waited` settles. */
  aside(waited: Promise<unknown>): Promise<void>;
}

interface Ticket {
  readonly signal: AbortSignal | undefined;
  /** `aside`: under way, but others need not wait for it. */
  state: 'new' | 'begun' | 'aside' | 'over';
  pauses: number;
  /** Since when it has the turn and does not compute, in milliseconds. */
  pausedAt: number | undefined;
  go: () => void;
}

/** Whoever waits is told by a promise and goes on by itself: at the edge, each request may only do its own work. */
export class FairQueue {
  #holder: Ticket | undefined;
  /** Of the long calls, whoever has waited longest comes first; of the others, whoever began or came first. */
  #waiting: Ticket[] = [];
  #begun = 0;
  #calls = 0;
  /** Stretches between two pauses so far. */
  #stretches = 0;
  #idle: (() => void)[] = [];

  /** Runs `task` when its turn has come. A signal that fires while it waits takes it out of the queue; one that fires while
   * it runs rejects at once, and the next turn begins when the task has paused or ended. */
  async run<T>(task: (turn: Turn) => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) throw abortError(signal);
    const ticket: Ticket = { signal, state: 'new', pauses: 0, pausedAt: undefined, go: () => {} };
    this.#calls++;
    await this.#take(ticket);
    if (this.#holder !== ticket) {
      this.#end(ticket);
      throw abortError(signal);
    }
    ticket.state = 'begun';
    this.#begun++;
    const running = task({ pause: () => this.#pause(ticket), aside: (waited) => this.#aside(ticket, waited) });
    const end = () => this.#end(ticket);
    running.then(end, end);
    return abortable(running, signal);
  }

  /** Resolves when nothing runs or waits. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#calls > 0) this.#idle.push(resolve);
      else resolve();
    });
  }

  async #pause(ticket: Ticket): Promise<void> {
    ticket.pauses++;
    this.#stretches++;
    ticket.pausedAt = Date.now();
    await macrotask();
    ticket.pausedAt = undefined;
    if (ticket.state === 'over') return never();
    if (ticket.signal?.aborted) return;
    if (ticket.state === 'aside') return this.#rejoin(ticket);
    if (this.#holder !== ticket) return;
    const next = this.#next();
    if (!next || (rank(next) >= rank(ticket) && !this.#isPatient())) return;
    this.#release(ticket);
    await this.#take(ticket);
  }

  async #aside(ticket: Ticket, waited: Promise<unknown>): Promise<void> {
    this.#leave(ticket);
    await waited.catch(() => {});
    // It was ended meanwhile, with the instance that it worked in: nothing of that may be called again.
    if ((ticket.state as Ticket['state']) === 'over') return never();
    await this.#rejoin(ticket);
  }

  async #rejoin(ticket: Ticket): Promise<void> {
    ticket.state = 'begun';
    this.#begun++;
    await this.#take(ticket);
  }

  /** It is under way no more, as far as others are concerned. */
  #leave(ticket: Ticket): void {
    if (ticket.state === 'begun') this.#begun--;
    ticket.state = 'aside';
    this.#release(ticket);
  }

  /** At the edge, a call whose request is gone may never go on: those that wait see to it that the turn does. */
  #passOn(): void {
    const holder = this.#holder;
    if (holder?.pausedAt !== undefined && Date.now() - holder.pausedAt > GONE_MS) this.#leave(holder);
  }

  /** Resolves when the ticket has the turn, or without it when its signal fires. */
  #take(ticket: Ticket): Promise<void> | undefined {
    if (ticket.signal?.aborted) return;
    if (!this.#holder && this.#may(ticket)) {
      this.#holder = ticket;
      return;
    }
    return new Promise((resolve) => {
      const watch = setInterval(() => this.#passOn(), WATCH_MS);
      const leave = () => {
        clearInterval(watch);
        this.#waiting = this.#waiting.filter((waiting) => waiting !== ticket);
        this.#leave(ticket);
        resolve();
      };
      const stop = onAbort(ticket.signal, leave);
      ticket.go = () => {
        clearInterval(watch);
        stop();
        resolve();
      };
      // A short one that was interrupted is not passed by those behind it.
      if (ticket.state === 'begun' && rank(ticket) === SHORT) this.#waiting.unshift(ticket);
      else this.#waiting.push(ticket);
    });
  }

  /** The turn passes on at once, so that nobody slips in between. */
  #release(ticket: Ticket): void {
    if (this.#holder === ticket) this.#holder = undefined;
    if (this.#holder) return;
    const next = this.#next();
    if (!next) return;
    this.#waiting = this.#waiting.filter((waiting) => waiting !== next);
    this.#holder = next;
    next.go();
  }

  #end(ticket: Ticket): void {
    if (ticket.state === 'begun') this.#begun--;
    ticket.state = 'over';
    this.#calls--;
    this.#stretches++;
    this.#waiting = this.#waiting.filter((waiting) => waiting !== ticket);
    this.#release(ticket);
    if (this.#calls === 0) this.#idle.splice(0).forEach((tell) => tell());
  }

  #may(ticket: Ticket): boolean {
    return ticket.state !== 'new' || this.#begun < BEGUN;
  }

  #isPatient(): boolean {
    return this.#stretches % PATIENCE === PATIENCE - 1 && this.#waiting.some((ticket) => rank(ticket) > SHORT);
  }

  /** Whose turn it is. */
  #next(): Ticket | undefined {
    const able = this.#waiting.filter((ticket) => this.#may(ticket));
    if (this.#isPatient()) return able.find((ticket) => rank(ticket) > SHORT);
    return able.reduce<Ticket | undefined>(
      (best, ticket) => (best && rank(best) <= rank(ticket) ? best : ticket),
      undefined,
    );
  }
}

/** Who has had least goes first; up to a few pauses all are alike. */
function rank({ pauses }: Ticket): number {
  return Math.max(pauses, SHORT);
}

/** What a call waits for that is over: its instance is gone. */
function never(): Promise<never> {
  return new Promise(() => {});
}
